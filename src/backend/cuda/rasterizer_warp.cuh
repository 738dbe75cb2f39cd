#pragma once

// What both directions of blending do alike: a warp and its cell, and the Gaussians it stages in shared
// memory.

#include "backend/cuda/rasterizer_kernels.cuh"

namespace eg4d::cuda {

// Four warps of a block take a square of 2×2 cells: neighbours share most of their Gaussians.
inline constexpr int kWarpsAcross = 2, kWarpsDown = 2, kWarps = kWarpsAcross * kWarpsDown;
inline constexpr int kBlendThreads = kWarps * kWarp;

inline dim3 blend_grid(const RasterizerSize& size) {
  const auto blocks = [](int cells, int warps) { return static_cast<unsigned>((cells + warps - 1) / warps); };
  return {blocks(cells_along(size.width, kCellWidth), kWarpsAcross),
          blocks(cells_along(size.height, kCellHeight), kWarpsDown)};
}

// A lane's pixel.
struct CellPixel {
  int cell;  // -1: the warp has none
  int left, top;
  int x, y;
  bool inside;  // the image
  int64_t index;
};
__device__ inline CellPixel cell_pixel(const RasterizerSize& size, int warp, int lane) {
  const int columns = cells_along(size.width, kCellWidth), rows = cells_along(size.height, kCellHeight);
  const int column = static_cast<int>(blockIdx.x) * kWarpsAcross + warp % kWarpsAcross;
  const int row = static_cast<int>(blockIdx.y) * kWarpsDown + warp / kWarpsAcross;
  CellPixel p;
  p.cell = column < columns && row < rows ? row * columns + column : -1;
  p.left = column * kCellWidth;
  p.top = row * kCellHeight;
  p.x = p.left + lane % kCellWidth;
  p.y = p.top + lane / kCellWidth;
  p.inside = p.x < size.width && p.y < size.height;
  p.index = int64_t{p.y} * size.width + p.x;
  return p;
}

// A ScreenGaussian, as three vectors: (x, y, xx, xy), (yy, log2_opacity, reach, depth), color.
struct Quads {
  float4 a, b, c;
};
__device__ inline Quads load_quads(const ScreenGaussian* gaussians, uint32_t i) {
  const float4* from = reinterpret_cast<const float4*>(gaussians + i);
  return {__ldg(from), __ldg(from + 1), __ldg(from + 2)};
}
// Reaches nothing.
__device__ inline Quads no_quads() {
  const float4 zero = make_float4(0, 0, 0, 0);
  return {zero, zero, zero};
}

// 32 Gaussians of a warp.
struct Stage {
  float4 a[kWarp], b[kWarp], c[kWarp];
  __device__ void put(int lane, const Quads& quads) {
    __syncwarp();
    a[lane] = quads.a;
    b[lane] = quads.b;
    c[lane] = quads.c;
    __syncwarp();
  }
};

// What alpha is at a pixel; the two directions must agree to the bit.
struct Fall {
  float dx, dy, value;
  bool in_reach;
};
__device__ inline Fall fall_at(const float4& a, const float4& b, float x, float y) {
  Fall f;
  f.dx = __fsub_rn(a.x, x);
  f.dy = __fsub_rn(a.y, y);
  const float along_x = __fmaf_rn(a.z, f.dx, __fmul_rn(a.w, f.dy));
  f.value = __fmaf_rn(along_x, f.dx, __fmul_rn(__fmul_rn(b.x, f.dy), f.dy));
  // 0 <= fall < reach in one comparison: as unsigned numbers, negative floats are the largest.
  f.in_reach = __float_as_uint(f.value) < __float_as_uint(b.z);
  return f;
}

// 2^x, to 2 units in the last place.
__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace eg4d::cuda
