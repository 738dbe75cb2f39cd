#include "backend/cpu/splat_kernels.h"

namespace eg4d::cpu {

void hexplane_adam(const HexPlaneAdam& a) {
  hexplane_regularization({.layout = a.layout,
                           .grid = a.adam.parameter,
                           .d_grid = a.adam.gradient,
                           .plane_smoothness = a.plane_smoothness,
                           .time_smoothness = a.time_smoothness,
                           .time_l1 = a.time_l1});
  adam(a.adam);
}

}  // namespace eg4d::cpu
