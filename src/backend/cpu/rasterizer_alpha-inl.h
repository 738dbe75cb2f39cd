// What both directions of blending must compute alike, bit for bit. Included once per instruction set.

#if defined(EG4D_RASTERIZER_ALPHA_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef EG4D_RASTERIZER_ALPHA_INL
#undef EG4D_RASTERIZER_ALPHA_INL
#else
#define EG4D_RASTERIZER_ALPHA_INL
#endif

#include <hwy/highway.h>

#include <cstring>

#include "backend/cpu/rasterizer.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::CappedTag<float, kBlockPixels>;
using DI = hn::RebindToSigned<D>;
using DU = hn::RebindToUnsigned<D>;
using V = hn::Vec<D>;

HWY_INLINE V set(float value) {
  return hn::Set(D(), value);
}

// Bit i: lane i.
HWY_INLINE uint32_t bits_of(hn::Mask<D> mask) {
  uint8_t bits[8] = {};
  hn::StoreMaskBits(D(), mask, bits);
  uint32_t word;
  std::memcpy(&word, bits, sizeof(word));
  return word;
}

// Where the pixels of a tile lie, relative to its corner, block by block.
struct TileOffsets {
  HWY_ALIGN float x[kTilePixels], y[kTilePixels];
};
constexpr TileOffsets make_tile_offsets() {
  TileOffsets offsets{};
  for (int i = 0; i < kTilePixels; ++i) {
    const int block = i / kBlockPixels, pixel = i % kBlockPixels;
    const int column = block % 4 * kBlock + pixel % kBlock, row = block / 4 * kBlock + pixel / kBlock;
    offsets.x[i] = static_cast<float>(column);
    offsets.y[i] = static_cast<float>(row);
  }
  return offsets;
}
inline constexpr TileOffsets kTileOffsets = make_tile_offsets();

// body(i, x, y, count) for runs of `count` pixels in a row: i counts the tile's pixels block by block, (x, y)
// is the place in the image. Runs are as long as a vector of RowD; at the image's edge they are single
// pixels.
using RowD = hn::CappedTag<float, kBlock>;
template <class Body>
HWY_INLINE void for_each_run(int left, int top, int width, int height, Body&& body) {
  const int lanes = static_cast<int>(hn::Lanes(RowD()));
  for (int i = 0; i < kTilePixels; i += kBlock) {
    const int block = i / kBlockPixels;
    const int x = left + block % 4 * kBlock, y = top + block / 4 * kBlock + i % kBlockPixels / kBlock;
    if (y >= height) continue;
    for (int k = 0; k < kBlock; k += lanes) {
      if (x + k + lanes <= width) {
        body(i + k, x + k, y, lanes);
      } else {
        for (int single = k; single < k + lanes && x + single < width; ++single)
          body(i + single, x + single, y, 1);
      }
    }
  }
}

// 2^x for |x| < 126 within 1e-7: the nearest integer goes to the exponent, a minimax polynomial does the
// rest. Other arguments give some number.
HWY_INLINE V exp2_in_range(V x) {
  const D d;
  const V magic = set(12582912.0f);  // adding 1.5·2^23 leaves the nearest integer in the low bits
  const V shifted = hn::Add(x, magic);
  const V f = hn::Sub(x, hn::Sub(shifted, magic));
  V p = set(0.001327647217f);
  p = hn::MulAdd(p, f, set(0.009675541331f));
  p = hn::MulAdd(p, f, set(0.05550713273f));
  p = hn::MulAdd(p, f, set(0.2402211972f));
  p = hn::MulAdd(p, f, set(0.6931469671f));
  p = hn::MulAdd(p, f, set(1.000000072f));
  const auto exponent = hn::ShiftLeft<23>(hn::BitCast(DU(), shifted));
  return hn::BitCast(d, hn::Add(hn::BitCast(DU(), p), exponent));
}

// What opacity_at takes of a ScreenGaussian, in all lanes; the mean is relative to the tile's corner.
struct OpacityLanes {
  V x, y, xx, xy, yy, log2_opacity, reach;
};
HWY_INLINE OpacityLanes opacity_lanes(const ScreenGaussian& g, float x, float y) {
  return {set(x), set(y), set(g.xx), set(g.xy), set(g.yy), set(g.log2_opacity), set(g.reach)};
}

// opacity·exp(power) where it lies in reach, else 0; not yet clamped to kAlphaMax.
struct Opacity {
  V dx, dy, value;
  hn::Mask<D> in_reach;
};
HWY_INLINE Opacity opacity_at(const OpacityLanes& g, V x, V y) {
  Opacity o;
  o.dx = hn::Sub(g.x, x);
  o.dy = hn::Sub(g.y, y);
  const V along_x = hn::MulAdd(g.xx, o.dx, hn::Mul(g.xy, o.dy));
  const V fall = hn::MulAdd(along_x, o.dx, hn::Mul(hn::Mul(g.yy, o.dy), o.dy));
  // 0 <= fall < reach in one comparison: as unsigned numbers, negative floats are the largest.
  o.in_reach = hn::RebindMask(D(), hn::Lt(hn::BitCast(DU(), fall), hn::BitCast(DU(), g.reach)));
  o.value = hn::IfThenElseZero(o.in_reach, exp2_in_range(hn::Sub(g.log2_opacity, fall)));
  return o;
}

}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
