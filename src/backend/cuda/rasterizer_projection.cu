// From Gaussians in the world to Gaussians in the image, one a thread.

#include "backend/cuda/check.h"
#include "backend/cuda/ellipse_cells.cuh"
#include "backend/cuda/gaussian_projection.cuh"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = 128;

// Tiles [low, high) along one axis that [center - radius, center + radius] touches.
struct TileRange {
  float low, high;
};
__device__ TileRange square_tiles(float center, float radius, int tiles) {
  const float inverse = 1.0f / kTile, most = static_cast<float>(tiles);
  const float low = floorf((center - radius) * inverse);
  const float high = floorf(((center + radius) + (kTile - 1)) * inverse);
  return {fminf(fmaxf(low, 0.0f), most), fminf(fmaxf(high, 0.0f), most)};
}

// Pixels [low, high] inside the tiles and the image where center ± extent lies, widened by a hundredth of a
// pixel and what rounding can do to the center.
struct PixelRange {
  float low, high;
  __device__ bool empty() const { return !(low <= high); }
};
__device__ PixelRange pixels_within(float center, float extent, const TileRange& tiles, int pixels) {
  const float wide = extent + fmaf(fabsf(center), 3e-7f, 0.01f);
  const float last = fminf(static_cast<float>(pixels), tiles.high * kTile) - 1;
  return {fmaxf(ceilf(center - wide), tiles.low * kTile), fminf(floorf(center + wide), last)};
}

// What is known about one Gaussian in the image.
struct Projection {
  ScreenGaussian gaussian;
  Ellipse ellipse;
  CellBox box;
  int radius;      // 0: not visible
  uint32_t cells;  // that it reaches
};

// Where alpha stays above 1/255, widened by what rounding can do to `fall`, so that leaving out the rest
// never changes a bit; without a proper ellipse nothing is left out.
struct Reach {
  float reach, limit;
  bool ellipse;
};
__device__ Reach reach_of(const Symmetric2& c, float determinant, float inverse, float log2_opacity) {
  Reach r;
  r.reach = log2_opacity + 7.994353436858858f;  // log2(255)
  r.ellipse = determinant > 0;
  const float conditioning = c.xx * c.yy * inverse;
  const float safe = fmaf(r.reach, fmaf(conditioning, 4e-6f, 1.00001f), 1e-4f);
  r.limit = (r.ellipse ? safe : 1e30f) * (2 / kLog2E);
  return r;
}

__device__ Ellipse ellipse_of(float x, float y, const Symmetric2& c, float determinant, const Reach& reach) {
  Ellipse e{x, y, 0, 1e30f, 1e30f, 0, 0, 0};
  if (!reach.ellipse) return e;
  const float inverse_yy = 1 / c.yy, extent = sqrtf(reach.limit * c.xx);
  e.slope = c.xy * inverse_yy;
  e.spread = determinant * inverse_yy;
  // Rounding near the tips, where the square of the width is a difference, must not lose a cell.
  e.limit = reach.limit * 1.000001f;
  e.inverse_yy = inverse_yy;
  e.tip = c.xy / c.xx * extent;
  e.margin = fmaf(extent, 2e-6f, fmaf(fabsf(x), 3e-7f, 0.01f));
  return e;
}

__device__ uint32_t count_cells(const Ellipse& ellipse, const CellBox& box) {
  uint32_t cells = 0;
  for (int row = box.y0; row < box.y1; ++row) cells += cells_of_row(ellipse, box, row).size();
  return cells;
}

__device__ Projection project_one(const RasterizeForward& f, const RasterizeCamera& camera, int width,
                                  int height, int i) {
  Projection p{};
  const Vector3 mean = load3(f.means, i), color = load3(f.colors, i);
  const float opacity = f.opacities[i];
  const View v = view_of(camera, width, height, mean);
  const Symmetric2 c = covariance_2d(v, load_shape(f, i).covariance);
  const float determinant = c.determinant(), inverse = 1 / determinant;
  const float middle = 0.5f * (c.xx + c.yy);
  const float spread = sqrtf(fmaxf(kDiscriminantFloor, fmaf(middle, middle, -determinant)));
  const float radius = ceilf(3 * sqrtf(middle + spread));
  const Clip clip = clip_of(camera, mean);
  const float x = (fmaf(clip.x, clip.inverse_w, 1.0f) * width - 1) * 0.5f;
  const float y = (fmaf(clip.y, clip.inverse_w, 1.0f) * height - 1) * 0.5f;

  float unfinite = radius * 0;  // 0, or NaN when something is not finite
  for (const float value : {x, y, v.mean.z, inverse, c.xx, c.xy, c.yy, opacity, color.x, color.y, color.z})
    unfinite = fmaf(value, 0.0f, unfinite);
  const TileRange across = square_tiles(x, radius, cells_along(width, kTile)),
                  down = square_tiles(y, radius, cells_along(height, kTile));
  if (!(v.mean.z > kNear && unfinite == 0 && across.low < across.high && down.low < down.high)) return p;
  p.radius = static_cast<int>(fminf(radius, 1073741824.0f));

  const float log2_opacity = log2f(opacity);
  const Reach reach = reach_of(c, determinant, inverse, log2_opacity);
  const PixelRange columns = pixels_within(x, sqrtf(reach.limit * c.xx), across, width);
  const PixelRange rows = pixels_within(y, sqrtf(reach.limit * c.yy), down, height);
  if (!(reach.reach >= 0) || columns.empty() || rows.empty()) return p;
  p.box = {static_cast<uint16_t>(static_cast<int>(columns.low) / kCellWidth),
           static_cast<uint16_t>(static_cast<int>(rows.low) / kCellHeight),
           static_cast<uint16_t>(static_cast<int>(columns.high) / kCellWidth + 1),
           static_cast<uint16_t>(static_cast<int>(rows.high) / kCellHeight + 1)};
  p.ellipse = ellipse_of(x, y, c, determinant, reach);
  p.cells = count_cells(p.ellipse, p.box);
  const float log2e_det = kLog2E * inverse;
  p.gaussian = {x,
                y,
                0.5f * (c.yy * log2e_det),
                -(c.xy * log2e_det),
                0.5f * (c.xx * log2e_det),
                log2_opacity,
                reach.reach,
                v.mean.z,
                {color.x, color.y, color.z},
                0};
  return p;
}

// Four floats at a time.
template <class T>
__device__ void store(T* to, const T& value) {
  static_assert(sizeof(T) % sizeof(float4) == 0);
  for (size_t k = 0; k < sizeof(T) / sizeof(float4); ++k)
    reinterpret_cast<float4*>(to)[k] = reinterpret_cast<const float4*>(&value)[k];
}

// Adds the pairs of the block's Gaussians to all; returns the thread's first slot.
__device__ uint32_t take_slots(RasterizerTotals* totals, uint32_t pairs) {
  __shared__ uint32_t warp_pairs[kThreads / kWarp];
  __shared__ unsigned long long first;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  uint32_t end = pairs;
  for (int step = 1; step < kWarp; step *= 2) {
    const uint32_t before = __shfl_up_sync(kAllLanes, end, step);
    if (lane >= step) end += before;
  }
  if (lane == kWarp - 1) warp_pairs[warp] = end;
  __syncthreads();
  if (threadIdx.x == 0) {
    unsigned long long all = 0;
    for (const uint32_t some : warp_pairs) all += some;
    first = all > 0 ? atomicAdd(&totals->pairs, all) : 0;
  }
  __syncthreads();
  uint32_t slot = static_cast<uint32_t>(first) + end - pairs;
  for (int other = 0; other < warp; ++other) slot += warp_pairs[other];
  return slot;
}

__global__ void __launch_bounds__(kThreads) project_kernel(RasterizeForward f, RasterizerWorkspace w) {
  const int i = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  uint32_t pairs = 0;
  if (i < f.count) {
    const Projection p = project_one(f, *f.camera, w.size.width, w.size.height, i);
    pairs = p.cells;
    w.cell_count[i] = p.cells;
    w.depth[i] = p.cells ? __float_as_uint(p.gaussian.depth) : 0xffffffffu;
    w.order_scratch[i] = static_cast<uint32_t>(i);
    if (f.radii) f.radii[i] = p.radius;
    if (p.cells > 0) {
      store(w.gaussians + i, p.gaussian);
      store(w.ellipses + i, p.ellipse);
      w.boxes[i] = p.box;
    }
  }
  const uint32_t slot = take_slots(w.totals, pairs);
  if (i < f.count) w.first_slot[i] = slot;
  const auto some = [&](uint32_t, uint32_t, const uint32_t(&cells)[kCellsTogether]) {
#pragma unroll
    for (const uint32_t cell : cells)
      if (cell != kNoCell) atomicAdd(&w.cell_size[cell], 1u);
  };
  const auto row = [&](uint32_t, uint32_t, uint32_t cell, int size) {
    for (int k = 0; k < size; ++k) atomicAdd(&w.cell_size[cell + k], 1u);
  };
  for_each_cell(w, cells_along(w.size.width, kCellWidth), static_cast<uint32_t>(i), slot, pairs,
                static_cast<int>(threadIdx.x) % kWarp, row, some);
}

}  // namespace

void project(const RasterizeForward& forward, const RasterizerWorkspace& workspace, cudaStream_t stream) {
  project_kernel<<<blocks_for(forward.count, kThreads), kThreads, 0, stream>>>(forward, workspace);
  check_launch("projecting Gaussians");
}

}  // namespace eg4d::cuda
