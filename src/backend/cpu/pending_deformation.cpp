#include "backend/cpu/splat_kernels.h"
#include "core/error.h"
namespace eg4d {
int64_t deformation_network_activations(const DeformationNetwork&) {
  throw Error("pending");
}
}  // namespace eg4d
namespace eg4d::cpu {
void hexplane_forward(const HexPlane&) {
  throw Error("pending");
}
void hexplane_backward(const HexPlane&) {
  throw Error("pending");
}
void deformation_network_forward(const DeformationNetwork&) {
  throw Error("pending");
}
void deformation_network_backward(const DeformationNetwork&) {
  throw Error("pending");
}
}  // namespace eg4d::cpu
