#include "backend/cpu/splat_kernels.h"
#include "core/error.h"
namespace eg4d::cpu {
std::unique_ptr<RasterizeContext> create_rasterize_context() {
  throw Error("pending");
}
void rasterize_forward(const RasterizeForward&) {
  throw Error("pending");
}
void rasterize_backward(const RasterizeBackward&) {
  throw Error("pending");
}
void sh_color_forward(const ShColor&) {
  throw Error("pending");
}
void sh_color_backward(const ShColor&) {
  throw Error("pending");
}
}  // namespace eg4d::cpu
