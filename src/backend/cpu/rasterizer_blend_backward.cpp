// One tile from back to front: the derivatives of its pixels with respect to each of its Gaussians, summed
// over the tile's pixels.

#include <algorithm>
#include <bit>

#include "backend/cpu/rasterizer.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/rasterizer_blend_backward.cpp"
#include "backend/cpu/simd_targets.h"

#include <hwy/foreach_target.h>

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "backend/cpu/rasterizer_alpha-inl.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {
namespace {

// The tile's pixels, block by block.
struct TileGradient {
  HWY_ALIGN float red[kTilePixels], green[kTilePixels],
      blue[kTilePixels];                       // of the loss, with respect to the image
  HWY_ALIGN float transmittance[kTilePixels];  // in front of what was already visited
  HWY_ALIGN float behind[kTilePixels];  // what was visited and the background, dotted with the gradient
};

// The pixels of a run, with a vector as long as it.
template <class RunD>
HWY_INLINE void read_run(RunD d, const RasterizeBackward& b, TileGradient& g, int i, int64_t at) {
  const float* background = b.forward.camera->background;
  hn::Vec<RunD> red, green, blue;
  hn::LoadInterleaved3(d, b.d_image + 3 * at, red, green, blue);
  hn::StoreU(red, d, g.red + i);
  hn::StoreU(green, d, g.green + i);
  hn::StoreU(blue, d, g.blue + i);
  const auto along =
      hn::MulAdd(hn::Set(d, background[0]), red,
                 hn::MulAdd(hn::Set(d, background[1]), green, hn::Mul(hn::Set(d, background[2]), blue)));
  hn::StoreU(hn::Mul(along, hn::LoadU(d, g.transmittance + i)), d, g.behind + i);
}

void start(const RasterizeBackward& b, const float* transmittance, int left, int top, TileGradient& g) {
  const int width = b.forward.width, height = b.forward.height;
  std::copy_n(transmittance, kTilePixels, g.transmittance);
  if (left + kTile > width || top + kTile > height)
    for (float* values : {g.red, g.green, g.blue, g.behind}) std::fill_n(values, kTilePixels, 0.0f);
  for_each_run(left, top, width, height, [&](int i, int x, int y, int count) HWY_ATTR {
    const int64_t at = int64_t{y} * width + x;
    if (count == 1)
      read_run(hn::CappedTag<float, 1>(), b, g, i, at);
    else
      read_run(RowD(), b, g, i, at);
  });
}

// 1/x for x in [0.01, 1], to the last bit or two.
V reciprocal(V x) {
  const V first = hn::ApproximateReciprocal(x);
  return hn::Mul(first, hn::NegMulAdd(x, first, set(2)));
}

using Sums = V[kPartialSums];

// A Gaussian of the tile's list, its parameters in all lanes.
struct GaussianLanes {
  OpacityLanes opacity;
  V red, green, blue;
  hn::Vec<DI> index;  // in the list
};

// Adds what one vector of pixels contributes to the sums.
HWY_INLINE void add_pixels(const GaussianLanes& gaussian, const int32_t* stop, int offset, TileGradient& g,
                           Sums& sums) {
  const D d;
  const Opacity o = opacity_at(gaussian.opacity, hn::Load(d, kTileOffsets.x + offset),
                               hn::Load(d, kTileOffsets.y + offset));
  const auto before_stop = hn::RebindMask(d, hn::Lt(gaussian.index, hn::Load(DI(), stop + offset)));
  const V unclamped = hn::IfThenElseZero(before_stop, o.value);
  const V alpha = hn::Min(unclamped, set(kAlphaMax));
  const V inverse = reciprocal(hn::Sub(set(1), alpha));
  const V transmittance = hn::Mul(hn::Load(d, g.transmittance + offset), inverse);
  const V red = hn::Load(d, g.red + offset), green = hn::Load(d, g.green + offset);
  const V blue = hn::Load(d, g.blue + offset), behind = hn::Load(d, g.behind + offset);
  const V along_color =
      hn::MulAdd(gaussian.red, red, hn::MulAdd(gaussian.green, green, hn::Mul(gaussian.blue, blue)));
  const V weight = hn::Mul(alpha, transmittance);
  hn::Store(transmittance, d, g.transmittance + offset);
  hn::Store(hn::MulAdd(weight, along_color, behind), d, g.behind + offset);
  const V d_alpha = hn::NegMulAdd(behind, inverse, hn::Mul(transmittance, along_color));
  const V d_log = hn::Mul(unclamped, d_alpha);  // as published, the clamp is ignored
  const V along_x = hn::Mul(d_log, o.dx), along_y = hn::Mul(d_log, o.dy);
  sums[kG] = hn::Add(sums[kG], d_log);
  sums[kGx] = hn::Add(sums[kGx], along_x);
  sums[kGy] = hn::Add(sums[kGy], along_y);
  sums[kGxx] = hn::MulAdd(along_x, o.dx, sums[kGxx]);
  sums[kGxy] = hn::MulAdd(along_x, o.dy, sums[kGxy]);
  sums[kGyy] = hn::MulAdd(along_y, o.dy, sums[kGyy]);
  sums[kWr] = hn::MulAdd(weight, red, sums[kWr]);
  sums[kWg] = hn::MulAdd(weight, green, sums[kWg]);
  sums[kWb] = hn::MulAdd(weight, blue, sums[kWb]);
}

// Stores the sum over the lanes of each of the nine vectors, in order, and some numbers after them.
#if HWY_TARGET == HWY_AVX3
HWY_INLINE void store_sums(const Sums& v, float* out) {
  // Each step folds vectors to half their length and puts two of them side by side.
  const D d;
  const hn::RebindToUnsigned<hn::Repartition<double, D>> d64;
  const auto halves = [d](V a, V b) HWY_ATTR {  // 256-bit halves: a, b
    return hn::Add(hn::ConcatLowerLower(d, b, a), hn::ConcatUpperUpper(d, b, a));
  };
  const auto blocks = [](V a, V b) HWY_ATTR {  // 128-bit blocks: a, b, a, b
    return hn::Add(hn::OddEvenBlocks(hn::SwapAdjacentBlocks(b), a),
                   hn::OddEvenBlocks(b, hn::SwapAdjacentBlocks(a)));
  };
  const auto pairs = [d](V a, V b) HWY_ATTR {  // in each block: a, b, a, b
    return hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b));
  };
  const auto lanes = [d, d64](V a, V b) HWY_ATTR {  // in each block: a (2), b (2)
    const auto a64 = hn::BitCast(d64, a), b64 = hn::BitCast(d64, b);
    return hn::Add(hn::BitCast(d, hn::InterleaveLower(d64, a64, b64)),
                   hn::BitCast(d, hn::InterleaveUpper(d64, a64, b64)));
  };
  const V v0213 = blocks(halves(v[0], v[1]), halves(v[2], v[3]));
  const V v4657 = blocks(halves(v[4], v[5]), halves(v[6], v[7]));
  const V v8 = blocks(halves(v[8], v[8]), halves(v[8], v[8]));
  const V mixed = lanes(pairs(v0213, v4657), pairs(v8, v8));  // blocks: 0 4 8 8, 2 6 8 8, 1 5 8 8, 3 7 8 8
  alignas(64) static constexpr int32_t kOrder[16] = {0, 8, 4, 12, 1, 9, 5, 13, 2, 2, 2, 2, 2, 2, 2, 2};
  hn::Store(hn::TableLookupLanes(mixed, hn::SetTableIndices(d, kOrder)), d, out);
}
#else
HWY_INLINE void store_sums(const Sums& v, float* out) {
  for (int k = 0; k < kPartialSums; ++k) out[k] = hn::GetLane(hn::SumOfLanes(D(), v[k]));
}
#endif

void blend_backward(const RasterizeBackward& b, RasterizerContext& context, int tile) {
  const int64_t begin = context.tile_begin[tile], end = context.tile_begin[tile + 1];
  if (begin == end) return;
  const int left = tile % context.tiles_x * kTile, top = tile / context.tiles_x * kTile;
  TileGradient gradient;
  start(b, context.transmittance.data() + int64_t{tile} * kTilePixels, left, top, gradient);
  const int32_t* stop = context.stop.data() + int64_t{tile} * kTilePixels;
  constexpr int kAhead = 8;
  for (int64_t at = end - 1; at >= begin; --at) {
    hwy::Prefetch(&context.gaussians[context.pairs[std::max(at - kAhead, begin)].gaussian]);
    const auto [number, slot] = context.pairs[at];
    float* out = context.partial.data() + int64_t{slot} * kPartial;
    uint32_t blocks = context.touched[at];
    if (blocks == 0) {
      std::fill_n(out, kPartial, 0.0f);
      continue;
    }
    const ScreenGaussian& g = context.gaussians[number];
    const GaussianLanes lanes{opacity_lanes(g, g.x - static_cast<float>(left), g.y - static_cast<float>(top)),
                              set(g.color[0]), set(g.color[1]), set(g.color[2]),
                              hn::Set(DI(), static_cast<int32_t>(at - begin))};
    const V zero = hn::Zero(D());
    Sums sums = {zero, zero, zero, zero, zero, zero, zero, zero, zero};
    for (; blocks != 0; blocks &= blocks - 1) {
      const int first = std::countr_zero(blocks) * kBlockPixels;
      for (int lane = 0; lane < kBlockPixels; lane += static_cast<int>(hn::Lanes(D())))
        add_pixels(lanes, stop, first + lane, gradient, sums);
    }
    store_sums(sums, out);
  }
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eg4d::cpu {
namespace {
HWY_EXPORT(blend_backward);
}  // namespace

void blend_tile_backward(const RasterizeBackward& backward, RasterizerContext& context, int tile) {
  HWY_DYNAMIC_DISPATCH(blend_backward)(backward, context, tile);
}

}  // namespace eg4d::cpu
#endif
