#include "backend/cpu/rasterizer.h"

#include <algorithm>

#include "backend/cpu/splat_kernels.h"
#include "core/error.h"
#include "core/threads.h"

// Splatting of 3D Gaussians: Zwicker et al., "EWA splatting" (2002); Kerbl et al., "3D Gaussian splatting for
// real-time radiance field rendering" (2023).

namespace eg4d::cpu {
namespace {

constexpr int64_t kProjectGrain = 128;

RasterizerContext& context_of(const RasterizeForward& forward) {
  return static_cast<RasterizerContext&>(*forward.context);
}

}  // namespace

std::unique_ptr<RasterizeContext> create_rasterize_context(Memory& memory) {
  return std::make_unique<RasterizerContext>(memory);
}

void rasterize_forward(const RasterizeForward& forward) {
  RasterizerContext& context = context_of(forward);
  context.tiles_x = (forward.camera.width + kTile - 1) / kTile;
  context.tiles_y = (forward.camera.height + kTile - 1) / kTile;
  if (std::max(context.tiles_x, context.tiles_y) > UINT16_MAX)
    throw Error("pictures of more than a million pixels along a side cannot be rendered");
  context.gaussians.resize(forward.count);
  context.depth_bits.resize(forward.count);
  context.boxes.resize(forward.count);
  context.transmittance.resize(int64_t{context.tiles()} * kTilePixels);
  context.stop.resize(int64_t{context.tiles()} * kTilePixels);
  parallel_for(forward.count, kProjectGrain,
               [&](int64_t begin, int64_t end) { project(forward, context, begin, end); });
  sort_into_tiles(forward.count, context);
  parallel_for(context.tiles(), 1,
               [&](int64_t i, int64_t) { blend_tile(forward, context, context.tile_order[i]); });
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
