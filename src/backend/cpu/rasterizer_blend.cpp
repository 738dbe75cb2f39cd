// One tile from front to back: 4×4 blocks of pixels, each with its own list of the Gaussians that reach it.

#include <algorithm>
#include <bit>

#include "backend/cpu/rasterizer.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/rasterizer_blend.cpp"
#include "backend/cpu/simd_targets.h"

#include <hwy/foreach_target.h>

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "backend/cpu/rasterizer_alpha-inl.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {
namespace {

constexpr int kBatch = 256;  // Gaussians whose lists are made at a time

// The tile's pixels, block by block. A pixel that has stopped, or lies outside the image, has its final
// transmittance with a minus sign: then `next < kTransmittanceMin` holds for every further Gaussian.
struct TileState {
  HWY_ALIGN float transmittance[kTilePixels];
  HWY_ALIGN float red[kTilePixels], green[kTilePixels], blue[kTilePixels], depth[kTilePixels];
  HWY_ALIGN int32_t stop[kTilePixels];
};

struct Batch {
  alignas(64) ScreenGaussian gaussians[kBatch];
  HWY_ALIGN uint32_t blocks[kBatch + 16];          // bit b: may reach block b
  HWY_ALIGN uint32_t lists[kBlocks][kBatch + 16];  // indices into gaussians
  HWY_ALIGN uint16_t touched[kBatch];
  int list_size[kBlocks];
  int first = 0, size = 0;  // in the tile's list
};

// The blocks of a tile that the Gaussian's box of pixels overlaps.
uint32_t blocks_of(const ScreenGaussian& g, int left, int top) {
  const int x0 = std::max(g.x0 - left, 0) / kBlock, x1 = std::min(g.x1 - left, kTile - 1) / kBlock;
  const int y0 = std::max(g.y0 - top, 0) / kBlock, y1 = std::min(g.y1 - top, kTile - 1) / kBlock;
  const uint32_t columns = (0xFu << x0) & (0xFu >> (3 - x1));
  const uint32_t rows = (0xFFFFu << (4 * y0)) & (0xFFFFu >> (12 - 4 * y1));
  return columns * 0x1111u & rows;
}

void gather(const RasterizerContext& context, int64_t begin, int size, int left, int top, Batch& batch) {
  constexpr int kAhead = 8;
  const TilePair* pairs = context.pairs.data() + begin;
  for (int k = 0; k < size; ++k) {
    if (k + kAhead < size) hwy::Prefetch(&context.gaussians[pairs[k + kAhead].gaussian]);
    batch.gaussians[k] = context.gaussians[pairs[k].gaussian];
    batch.blocks[k] = blocks_of(batch.gaussians[k], left, top);
    batch.touched[k] = 0;
  }
  const DU d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  std::fill_n(batch.blocks + size, 16, 0u);
  for (int block = 0; block < kBlocks; ++block) {
    const auto bit = hn::Set(d, 1u << block);
    int count = 0;
    for (int k = 0; k < size; k += lanes) {
      const auto mask = hn::TestBit(hn::Load(d, batch.blocks + k), bit);
      count += static_cast<int>(hn::CompressBlendedStore(hn::Iota(d, static_cast<uint32_t>(k)), mask, d,
                                                         batch.lists[block] + count));
    }
    batch.list_size[block] = count;
  }
  batch.size = size;
}

// Blends one vector of a block's pixels with the block's list; returns whether any pixel goes on.
bool blend_pixels(Batch& batch, int block, int offset, const TilePixels& pixels, TileState& state) {
  const D d;
  const V x = hn::Load(d, pixels.x + offset), y = hn::Load(d, pixels.y + offset);
  const V least = set(kTransmittanceMin);
  V transmittance = hn::Load(d, state.transmittance + offset);
  V red = hn::Load(d, state.red + offset), green = hn::Load(d, state.green + offset);
  V blue = hn::Load(d, state.blue + offset), depth = hn::Load(d, state.depth + offset);
  const uint32_t all = (1u << hn::Lanes(d)) - 1;
  uint32_t stopped = bits_of(hn::Lt(transmittance, least));
  const uint16_t bit = static_cast<uint16_t>(1u << block);
  const uint32_t* list = batch.lists[block];
  const int count = batch.list_size[block];
  for (int k = 0; k < count && stopped != all; ++k) {
    const ScreenGaussian& g = batch.gaussians[list[k]];
    const Opacity o = opacity_at(g, x, y);
    const V alpha = hn::Min(o.value, set(kAlphaMax));
    const V next = hn::NegMulAdd(alpha, transmittance, transmittance);
    const auto go_on = hn::Ge(next, least);
    const V weight = hn::IfThenElseZero(go_on, hn::Mul(alpha, transmittance));
    red = hn::MulAdd(weight, set(g.color[0]), red);
    green = hn::MulAdd(weight, set(g.color[1]), green);
    blue = hn::MulAdd(weight, set(g.color[2]), blue);
    depth = hn::MulAdd(weight, set(g.depth), depth);
    const uint32_t stopped_now = bits_of(go_on) ^ all;
    if (bits_of(o.in_reach) & ~stopped) batch.touched[list[k]] |= bit;
    if (HWY_UNLIKELY(stopped_now != stopped)) {
      for (uint32_t fresh = stopped_now & ~stopped; fresh != 0; fresh &= fresh - 1)
        state.stop[offset + std::countr_zero(fresh)] = batch.first + static_cast<int>(list[k]);
      transmittance = hn::IfThenElse(go_on, next, hn::Or(transmittance, set(-0.0f)));
      stopped = stopped_now;
    } else {
      transmittance = hn::IfThenElse(go_on, next, transmittance);
    }
  }
  hn::Store(transmittance, d, state.transmittance + offset);
  hn::Store(red, d, state.red + offset);
  hn::Store(green, d, state.green + offset);
  hn::Store(blue, d, state.blue + offset);
  hn::Store(depth, d, state.depth + offset);
  return stopped != all;
}

void start(const RasterizeCamera& camera, const TilePixels& pixels, TileState& state) {
  for (int i = 0; i < kTilePixels; ++i) {
    const bool inside =
        pixels.x[i] < static_cast<float>(camera.width) && pixels.y[i] < static_cast<float>(camera.height);
    state.transmittance[i] = inside ? 1.0f : -1.0f;
    state.red[i] = state.green[i] = state.blue[i] = state.depth[i] = 0;
    state.stop[i] = INT32_MAX;
  }
}

void write_picture(const RasterizeForward& f, int left, int top, const TileState& state) {
  const int columns = std::min(kTile, f.camera.width - left), rows = std::min(kTile, f.camera.height - top);
  const float* background = f.camera.background;
  for (int y = 0; y < rows; ++y) {
    const int64_t row = int64_t{top + y} * f.camera.width + left;
    for (int x = 0; x < columns; ++x) {
      const int i = (y / kBlock * 4 + x / kBlock) * kBlockPixels + y % kBlock * kBlock + x % kBlock;
      const float transmittance = std::abs(state.transmittance[i]);
      float* pixel = f.image + 3 * (row + x);
      pixel[0] = state.red[i] + transmittance * background[0];
      pixel[1] = state.green[i] + transmittance * background[1];
      pixel[2] = state.blue[i] + transmittance * background[2];
      if (f.depth) f.depth[row + x] = state.depth[i];
      if (f.alpha) f.alpha[row + x] = 1 - transmittance;
    }
  }
}

void blend(const RasterizeForward& f, RasterizerContext& context, int tile) {
  const int tile_x = tile % context.tiles_x, tile_y = tile / context.tiles_x;
  const TilePixels pixels(tile_x, tile_y);
  TileState state;
  start(f.camera, pixels, state);
  const int64_t begin = context.tile_begin[tile], end = context.tile_begin[tile + 1];
  Batch batch;
  uint32_t open = (1u << kBlocks) - 1;
  int64_t at = begin;
  for (; at < end && open != 0; at += batch.size) {
    batch.first = static_cast<int>(at - begin);
    gather(context, at, static_cast<int>(std::min<int64_t>(kBatch, end - at)), tile_x * kTile, tile_y * kTile,
           batch);
    for (uint32_t left = open; left != 0; left &= left - 1) {
      const int block = std::countr_zero(left);
      bool goes_on = false;
      for (int lane = 0; lane < kBlockPixels; lane += static_cast<int>(hn::Lanes(D())))
        goes_on |= blend_pixels(batch, block, block * kBlockPixels + lane, pixels, state);
      if (!goes_on) open &= ~(1u << block);
    }
    std::copy_n(batch.touched, batch.size, context.touched.data() + at);
  }
  std::fill_n(context.touched.data() + at, end - at, uint16_t{0});
  write_picture(f, tile_x * kTile, tile_y * kTile, state);
  float* transmittance = context.transmittance.data() + int64_t{tile} * kTilePixels;
  for (int i = 0; i < kTilePixels; ++i) transmittance[i] = std::abs(state.transmittance[i]);
  std::copy_n(state.stop, kTilePixels, context.stop.data() + int64_t{tile} * kTilePixels);
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eg4d::cpu {
namespace {
HWY_EXPORT(blend);
}  // namespace

void blend_tile(const RasterizeForward& forward, RasterizerContext& context, int tile) {
  HWY_DYNAMIC_DISPATCH(blend)(forward, context, tile);
}

}  // namespace eg4d::cpu
#endif
