#include "backend/cpu/rasterizer.h"

#include <algorithm>

#include "backend/cpu/splat_kernels.h"
#include "backend/cpu/testing.h"
#include "core/error.h"
#include "core/threads.h"

// Splatting of 3D Gaussians: Zwicker et al., "EWA splatting" (2002); Kerbl et al., "3D Gaussian splatting for
// real-time radiance field rendering" (2023).

namespace eg4d::cpu {
namespace {

constexpr int64_t kProjectGrain = 128;

int tiles_along(int pixels) {
  return (pixels + kTile - 1) / kTile;
}

RasterizerContext& context_of(const RasterizeForward& forward) {
  return static_cast<RasterizerContext&>(*forward.context);
}

}  // namespace

std::unique_ptr<RasterizeContext> create_rasterize_context(Memory& memory) {
  return std::make_unique<RasterizerContext>(memory);
}

void RasterizerContext::reserve(int64_t count, int width, int height) {
  const int64_t room = int64_t{tiles_along(width)} * tiles_along(height) * kTilePixels;
  gaussians.resize(count);
  depth_bits.resize(count);
  boxes.resize(count);
  sorted_boxes.resize(count);
  order.resize(count);
  order_scratch.resize(count);
  transmittance.resize(room);
  stop.resize(room);
}

void rasterize_forward(const RasterizeForward& forward) {
  RasterizerContext& context = context_of(forward);
  context.tiles_x = tiles_along(forward.width);
  context.tiles_y = tiles_along(forward.height);
  if (std::max(context.tiles_x, context.tiles_y) > UINT16_MAX)
    throw Error("pictures of more than a million pixels along a side cannot be rendered");
  context.reserve(forward.count, forward.width, forward.height);
  parallel_for(forward.count, kProjectGrain,
               [&](int64_t begin, int64_t end) { project(forward, context, begin, end); });
  sort_into_tiles(forward.count, context);
  parallel_for(context.tiles(), 1,
               [&](int64_t i, int64_t) { blend_tile(forward, context, context.tile_order[i]); });
}

int64_t pair_count(const RasterizeContext& context) {
  return static_cast<const RasterizerContext&>(context).pairs_in_use;
}

void rasterize_backward(const RasterizeBackward& backward) {
  RasterizerContext& context = context_of(backward.forward);
  context.partial.resize(context.pairs_in_use * kPartial);
  parallel_for(context.tiles(), 1,
               [&](int64_t i, int64_t) { blend_tile_backward(backward, context, context.tile_order[i]); });
  parallel_for(backward.forward.count, kProjectGrain,
               [&](int64_t begin, int64_t end) { project_backward(backward, context, begin, end); });
}

}  // namespace eg4d::cpu
