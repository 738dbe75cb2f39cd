#pragma once

// From a Gaussian in the world to its ellipse in the image, one Gaussian a thread. Its files are compiled
// with -fmad=false, so that the CPU backend's roundings, and with them its radii, are kept.

#include "backend/cuda/rasterizer_kernels.cuh"

namespace eg4d::cuda {

inline constexpr float kNear = 0.2f, kDiscriminantFloor = 0.1f;

using V = float;
using M = bool;
// clang-format off
__device__ inline V set(float value) { return value; }
__device__ inline V Add(V a, V b) { return a + b; }
__device__ inline V Sub(V a, V b) { return a - b; }
__device__ inline V Mul(V a, V b) { return a * b; }
__device__ inline V Div(V a, V b) { return a / b; }
__device__ inline V Neg(V a) { return -a; }
__device__ inline V Abs(V a) { return fabsf(a); }
__device__ inline V Min(V a, V b) { return fminf(a, b); }
__device__ inline V Max(V a, V b) { return fmaxf(a, b); }
__device__ inline M Le(V a, V b) { return a <= b; }
__device__ inline V MulAdd(V a, V b, V c) { return fmaf(a, b, c); }
__device__ inline V NegMulAdd(V a, V b, V c) { return fmaf(-a, b, c); }
// clang-format on

struct Quaternion {
  V w, x, y, z;
};

#define EG4D_OF_GAUSSIANS __device__ inline
#include "backend/gaussian_projection-inl.h"
#undef EG4D_OF_GAUSSIANS

__device__ inline Shape load_shape(const RasterizeForward& f, int64_t i) {
  const float* q = f.rotations + 4 * i;
  return shape_of({q[0], q[1], q[2], q[3]}, load3(f.scales, i));
}

}  // namespace eg4d::cuda
