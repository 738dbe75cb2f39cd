#pragma once

// What both directions of blending do alike: a warp and its cell, and the Gaussians it stages in shared
// memory.

#include "backend/cuda/rasterizer_kernels.cuh"

namespace eg4d::cuda {

// A warp takes a cell. Those with the longest lists begin first and are spread over the multiprocessors:
// otherwise some of these would have a few of them left when the others are done.
inline constexpr int kWarps = 4, kBlendThreads = kWarps * kWarp;

inline unsigned blend_blocks(const RasterizerSize& size) {
  return blocks_for(int64_t{cells_along(size.width, kCellWidth)} * cells_along(size.height, kCellHeight),
                    kWarps);
}

// A lane's pixel.
struct CellPixel {
  int cell;  // -1: the warp has none
  int left, top;
  int x, y;
  bool inside;  // the image
  int64_t index;
};
// Without Gaussians there are no lists.
__device__ inline CellPixel cell_pixel(const RasterizerWorkspace& w, bool lists, int warp, int lane) {
  const RasterizerSize& size = w.size;
  const int columns = cells_along(size.width, kCellWidth),
            cells = columns * cells_along(size.height, kCellHeight),
            i = static_cast<int>(blockIdx.x) * kWarps + warp;
  CellPixel p;
  p.cell = lists ? cell_by_length(w, cells, i) : i < cells ? i : -1;
  p.left = p.cell % columns * kCellWidth;
  p.top = p.cell / columns * kCellHeight;
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
