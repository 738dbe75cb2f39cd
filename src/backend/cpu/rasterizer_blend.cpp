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
};

struct Tile {
  int left, top;  // pixels
  int32_t* stop;  // [kTilePixels] in the context
};

struct Batch {
  ScreenGaussian gaussians[kBatch];                // means relative to the tile's corner
  HWY_ALIGN uint32_t lists[kBlocks][kBatch + 16];  // indices into gaussians
  HWY_ALIGN uint16_t touched[kBatch];
  int list_size[kBlocks];
  int first, size;  // in the tile's list
};

// Smallest `fall` over the columns or rows of blocks: the distances to the nearest pixel and the range.
struct BlockRange {
  V low, high, near, optimum, square;
};
// optimum: where the other coordinate would have to lie for the smallest fall, at `near`.
BlockRange block_range(V center, float first, V own, V other, V mixed) {
  BlockRange range;
  range.low = hn::Sub(center, set(first + (kBlock - 1)));
  range.high = hn::Sub(center, set(first));
  range.near = hn::Min(hn::Max(hn::Zero(D()), range.low), range.high);
  range.optimum = hn::Mul(hn::Div(hn::Mul(set(-0.5f), mixed), other), range.near);
  range.square = hn::Mul(hn::Mul(own, range.near), range.near);
  return range;
}

// Appends some Gaussians of the batch, one per lane, to the lists of the blocks that they may reach: where
// the smallest fall over the block's square, which is convex and so lies on one of the two sides that face
// the mean, is below safe_reach.
void append_to_lists(Batch& batch, int first, int count, uint32_t open) {
  const D d;
  const DI di;
  const DU du;
  const auto lane = hn::Iota(di, 0);
  const auto index = hn::Add(hn::Min(lane, hn::Set(di, count - 1)), hn::Set(di, first));
  const auto offset = hn::ShiftLeft<4>(index);  // in floats
  static_assert(sizeof(ScreenGaussian) == 16 * sizeof(float));
  const ScreenGaussian& g = batch.gaussians[0];
  const V x = hn::GatherIndex(d, &g.x, offset), y = hn::GatherIndex(d, &g.y, offset);
  const V xx = hn::GatherIndex(d, &g.xx, offset), xy = hn::GatherIndex(d, &g.xy, offset);
  const V yy = hn::GatherIndex(d, &g.yy, offset), reach = hn::GatherIndex(d, &g.safe_reach, offset);
  const auto valid = hn::RebindMask(d, hn::Lt(lane, hn::Set(di, count)));
  const auto value = hn::BitCast(du, index);
  BlockRange columns[4];
  for (int k = 0; k < 4; ++k) columns[k] = block_range(x, static_cast<float>(k * kBlock), xx, yy, xy);
  for (int row = 0; row < 4; ++row) {
    const BlockRange down = block_range(y, static_cast<float>(row * kBlock), yy, xx, xy);
    for (int column = 0; column < 4; ++column) {
      const int block = 4 * row + column;
      if (!(open >> block & 1)) continue;
      const BlockRange& across = columns[column];
      const V dy = hn::Min(hn::Max(across.optimum, down.low), down.high);
      const V dx = hn::Min(hn::Max(down.optimum, across.low), across.high);
      const V side = hn::MulAdd(hn::MulAdd(yy, dy, hn::Mul(xy, across.near)), dy, across.square);
      const V edge = hn::MulAdd(hn::MulAdd(xx, dx, hn::Mul(xy, down.near)), dx, down.square);
      const auto reached = hn::And(valid, hn::Not(hn::Gt(hn::Min(side, edge), reach)));
      const auto mask = hn::RebindMask(du, reached);
      hn::StoreU(hn::Compress(value, mask), du, batch.lists[block] + batch.list_size[block]);
      batch.list_size[block] += std::popcount(bits_of(reached));
    }
  }
}

void fill(const RasterizerContext& context, int64_t begin, int64_t end, uint32_t open, const Tile& tile,
          Batch& batch) {
  constexpr int kAhead = 8;
  const int size = static_cast<int>(std::min<int64_t>(kBatch, end - begin));
  const int lanes = static_cast<int>(hn::Lanes(D()));
  const TilePair* pairs = context.pairs.data() + begin;
  std::fill_n(batch.list_size, kBlocks, 0);
  for (int first = 0; first < size; first += lanes) {
    const int count = std::min(lanes, size - first);
    for (int k = first; k < first + count; ++k) {
      hwy::Prefetch(&context.gaussians[pairs[std::min(k + kAhead, size - 1)].gaussian]);
      batch.gaussians[k] = context.gaussians[pairs[k].gaussian];
      batch.gaussians[k].x -= static_cast<float>(tile.left);
      batch.gaussians[k].y -= static_cast<float>(tile.top);
      batch.touched[k] = 0;
    }
    append_to_lists(batch, first, count, open);
  }
  batch.size = size;
}

// Blends one vector of a block's pixels with the block's list; returns whether any pixel goes on.
bool blend_pixels(Batch& batch, int block, int offset, const Tile& tile, TileState& state) {
  const D d;
  const V x = hn::Load(d, kTileOffsets.x + offset), y = hn::Load(d, kTileOffsets.y + offset);
  const V least = set(kTransmittanceMin);
  V transmittance = hn::Load(d, state.transmittance + offset);
  V red = hn::Load(d, state.red + offset), green = hn::Load(d, state.green + offset);
  V blue = hn::Load(d, state.blue + offset), depth = hn::Load(d, state.depth + offset);
  const uint32_t all = (1u << hn::Lanes(d)) - 1;
  uint32_t open = bits_of(hn::Ge(transmittance, least));
  const uint32_t* list = batch.lists[block];
  const int count = batch.list_size[block];
  for (int k = 0; k < count && open != 0; ++k) {
    const ScreenGaussian& g = batch.gaussians[list[k]];
    const Opacity o = opacity_at(opacity_lanes(g, g.x, g.y), x, y);
    const V alpha = hn::Min(o.value, set(kAlphaMax));
    const V next = hn::NegMulAdd(alpha, transmittance, transmittance);
    const auto goes_on = hn::Ge(next, least);
    const V weight = hn::IfThenElseZero(goes_on, hn::Mul(alpha, transmittance));
    red = hn::MulAdd(weight, set(g.color[0]), red);
    green = hn::MulAdd(weight, set(g.color[1]), green);
    blue = hn::MulAdd(weight, set(g.color[2]), blue);
    depth = hn::MulAdd(weight, set(g.depth), depth);
    // Without a branch, which would be hard to predict.
    batch.touched[list[k]] |= static_cast<uint16_t>(uint32_t{(bits_of(o.in_reach) & open) != 0} << block);
    const uint32_t still_open = bits_of(goes_on);
    if (HWY_UNLIKELY(still_open != open)) {
      for (uint32_t fresh = open & ~still_open & all; fresh != 0; fresh &= fresh - 1)
        tile.stop[offset + std::countr_zero(fresh)] = batch.first + static_cast<int>(list[k]);
      transmittance = hn::IfThenElse(goes_on, next, hn::Or(transmittance, set(-0.0f)));
      open = still_open;
    } else {
      transmittance = hn::IfThenElse(goes_on, next, transmittance);
    }
  }
  hn::Store(transmittance, d, state.transmittance + offset);
  hn::Store(red, d, state.red + offset);
  hn::Store(green, d, state.green + offset);
  hn::Store(blue, d, state.blue + offset);
  hn::Store(depth, d, state.depth + offset);
  return open != 0;
}

void start(const RasterizeForward& f, const Tile& tile, TileState& state) {
  const D d;
  const V zero = hn::Zero(d), one = set(1), outside = set(-1);
  const V right = set(static_cast<float>(f.width - tile.left)),
          bottom = set(static_cast<float>(f.height - tile.top));
  for (int i = 0; i < kTilePixels; i += static_cast<int>(hn::Lanes(d))) {
    const auto inside = hn::And(hn::Lt(hn::Load(d, kTileOffsets.x + i), right),
                                hn::Lt(hn::Load(d, kTileOffsets.y + i), bottom));
    hn::Store(hn::IfThenElse(inside, one, outside), d, state.transmittance + i);
    for (float* channel : {state.red, state.green, state.blue, state.depth}) hn::Store(zero, d, channel + i);
    hn::Store(hn::Set(DI(), INT32_MAX), DI(), tile.stop + i);
  }
}

// The pixels of a run, with a vector as long as it.
template <class RunD>
HWY_INLINE void write_run(RunD d, const RasterizeForward& f, const TileState& state, int i, int64_t at) {
  const auto transmittance = hn::Abs(hn::LoadU(d, state.transmittance + i));
  const float* background = f.camera->background;
  hn::StoreInterleaved3(hn::MulAdd(transmittance, hn::Set(d, background[0]), hn::LoadU(d, state.red + i)),
                        hn::MulAdd(transmittance, hn::Set(d, background[1]), hn::LoadU(d, state.green + i)),
                        hn::MulAdd(transmittance, hn::Set(d, background[2]), hn::LoadU(d, state.blue + i)), d,
                        f.image + 3 * at);
  if (f.depth) hn::StoreU(hn::LoadU(d, state.depth + i), d, f.depth + at);
  if (f.alpha) hn::StoreU(hn::Sub(hn::Set(d, 1.0f), transmittance), d, f.alpha + at);
}

void finish(const RasterizeForward& f, const Tile& tile, const TileState& state, float* transmittance) {
  for_each_run(tile.left, tile.top, f.width, f.height, [&](int i, int x, int y, int count) HWY_ATTR {
    const int64_t at = int64_t{y} * f.width + x;
    if (count == 1)
      write_run(hn::CappedTag<float, 1>(), f, state, i, at);
    else
      write_run(RowD(), f, state, i, at);
  });
  const D d;
  for (int i = 0; i < kTilePixels; i += static_cast<int>(hn::Lanes(d)))
    hn::Store(hn::Abs(hn::Load(d, state.transmittance + i)), d, transmittance + i);
}

void blend(const RasterizeForward& f, RasterizerContext& context, int number) {
  const int64_t first_pixel = int64_t{number} * kTilePixels;
  const Tile tile{number % context.tiles_x * kTile, number / context.tiles_x * kTile,
                  context.stop.data() + first_pixel};
  TileState state;
  start(f, tile, state);
  const int64_t begin = context.tile_begin[number], end = context.tile_begin[number + 1];
  Batch batch;
  uint32_t open = (1u << kBlocks) - 1;
  int64_t at = begin;
  for (; at < end && open != 0; at += batch.size) {
    batch.first = static_cast<int>(at - begin);
    fill(context, at, end, open, tile, batch);
    for (uint32_t left = open; left != 0; left &= left - 1) {
      const int block = std::countr_zero(left);
      bool goes_on = false;
      for (int lane = 0; lane < kBlockPixels; lane += static_cast<int>(hn::Lanes(D())))
        goes_on |= blend_pixels(batch, block, block * kBlockPixels + lane, tile, state);
      if (!goes_on) open &= ~(1u << block);
    }
    std::copy_n(batch.touched, batch.size, context.touched.data() + at);
  }
  std::fill_n(context.touched.data() + at, end - at, uint16_t{0});
  finish(f, tile, state, context.transmittance.data() + first_pixel);
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
