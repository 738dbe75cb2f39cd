#include "backend/cpu/splat_kernels.h"
#include "core/error.h"
namespace eg4d::cpu {
void gaussian_activation_forward(const GaussianActivation&) {
  throw Error("pending");
}
void gaussian_activation_backward(const GaussianActivationBackward&) {
  throw Error("pending");
}
void image_loss(const ImageLoss&) {
  throw Error("pending");
}
void resize_picture(const ResizePicture&) {
  throw Error("pending");
}
void adam(const Adam&) {
  throw Error("pending");
}
void hexplane_adam(const HexPlaneAdam&) {
  throw Error("pending");
}
void hexplane_regularization(const HexPlaneRegularization&) {
  throw Error("pending");
}
void density_statistics(const DensityStatistics&) {
  throw Error("pending");
}
}  // namespace eg4d::cpu
