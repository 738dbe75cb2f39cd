#pragma once

// What the rasteriser's kernels share.

#include "backend/cuda/gaussian_rows.cuh"
#include "backend/cuda/rasterizer.h"

namespace eg4d::cuda {

inline constexpr int kTile = 16;  // pixels along the side of a tile of the published rule
// A cell: the pixels that one warp blends, one a lane, row by row.
inline constexpr int kCellWidth = 8, kCellHeight = 4;
inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;
inline constexpr int kPartial = 12;  // floats from one partial sum to the next
inline constexpr float kAlphaMax = 0.99f;
inline constexpr float kTransmittanceMin = 1e-4f;
inline constexpr float kLog2E = 1.4426950408889634f;

// A Gaussian in the image, in the form that blending reads. With d = mean - pixel,
//   log2(alpha) = log2_opacity - fall,  fall = xx·dx² + xy·dx·dy + yy·dy²,
// and alpha reaches 1/255 where fall < reach. xx, xy and yy are the conic (the inverse of the 2D covariance)
// times log2(e)/2, log2(e) and log2(e)/2.
struct alignas(16) ScreenGaussian {
  float x, y, xx, xy;
  float yy, log2_opacity, reach, depth;
  float color[3];
  float unused;
};

// Where a Gaussian's alpha may reach 1/255, a little widened. At the height v above the mean, it is
// |x - mean - slope·v| <= sqrt(spread·(limit - v²·inverse_yy)); tip: v of the point furthest right.
struct alignas(16) Ellipse {
  float x, y, slope, spread;
  float limit, inverse_yy, tip, margin;
};

struct alignas(8) CellBox {
  uint16_t x0, y0, x1, y1;  // cells [x0,x1) × [y0,y1)
};

// Sums over pixels that a partial sum holds; g is the gradient with respect to ln(alpha), w the blending
// weight, and d = mean - pixel.
enum PartialSum { kG, kGx, kGy, kGxx, kGxy, kGyy, kWr, kWg, kWb, kPartialSums };

// Classes of cells by the length of their lists.
inline constexpr int kLengthClasses = 17;
// The i-th cell when those with the longest lists come first; -1 behind the last.
__device__ inline int cell_by_length(const RasterizerWorkspace& w, int cells, int i) {
#pragma unroll
  for (int k = 0; k < kLengthClasses; ++k) {
    const int size = static_cast<int>(w.class_size[k]);
    if (i < size) return w.by_length[int64_t{k} * cells + i];
    i -= size;
  }
  return -1;
}

inline __host__ __device__ int cells_along(int pixels, int cell) {
  return (pixels + cell - 1) / cell;
}

// rasterizer_projection.cu
void project(const RasterizeForward& forward, const RasterizerWorkspace& workspace, cudaStream_t stream);
// rasterizer_projection_backward.cu
void project_backward(const RasterizeBackward& backward, const RasterizerWorkspace& workspace,
                      cudaStream_t stream);
// rasterizer_lists.cu: after projecting, where each cell's list begins; then the lists.
void place_lists(const RasterizerWorkspace& workspace, cudaStream_t stream);
void fill_lists(int64_t count, const RasterizerWorkspace& workspace, cudaStream_t stream);
// rasterizer_cells.cu: the lists in the other way.
void list_cells(int64_t count, const RasterizerWorkspace& workspace, cudaStream_t stream);
// rasterizer_sort.cu; each sorts on the lowest `bits` bits.
size_t depth_temporary_bytes(int64_t count);
size_t cell_temporary_bytes(int64_t pairs);
void sort_by_depth(int64_t count, const RasterizerWorkspace& workspace, cudaStream_t stream);
void add_up_pairs(int64_t count, const RasterizerWorkspace& workspace, cudaStream_t stream);
void sort_by_cell(int bits, const RasterizerWorkspace& workspace, cudaStream_t stream);
// rasterizer_blend.cu, rasterizer_blend_backward.cu
void blend(const RasterizeForward& forward, const RasterizerWorkspace& workspace, cudaStream_t stream);
void blend_backward(const RasterizeBackward& backward, const RasterizerWorkspace& workspace,
                    cudaStream_t stream);

}  // namespace eg4d::cuda
