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

inline V set(float value) {
  return hn::Set(D(), value);
}

// Bit i: lane i.
inline uint32_t bits_of(hn::Mask<D> mask) {
  uint8_t bits[8] = {};
  hn::StoreMaskBits(D(), mask, bits);
  uint32_t word;
  std::memcpy(&word, bits, sizeof(word));
  return word;
}

// Pixel coordinates inside a tile, block by block.
struct TilePixels {
  HWY_ALIGN float x[kTilePixels], y[kTilePixels];
  TilePixels(int tile_x, int tile_y) {
    for (int i = 0; i < kTilePixels; ++i) {
      const int block = i / kBlockPixels, pixel = i % kBlockPixels;
      x[i] = static_cast<float>(tile_x * kTile + block % 4 * kBlock + pixel % kBlock);
      y[i] = static_cast<float>(tile_y * kTile + block / 4 * kBlock + pixel / kBlock);
    }
  }
};

// 2^x for |x| < 126 within 1e-7: the nearest integer goes to the exponent, a minimax polynomial does the
// rest. Other arguments give some number.
inline V exp2_in_range(V x) {
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

// opacity·exp(power) where it lies in reach, else 0; not yet clamped to kAlphaMax.
struct Opacity {
  V dx, dy, value;
  hn::Mask<D> in_reach;
};
inline Opacity opacity_at(const ScreenGaussian& g, V x, V y) {
  Opacity o;
  o.dx = hn::Sub(set(g.x), x);
  o.dy = hn::Sub(set(g.y), y);
  const V along_x = hn::MulAdd(set(g.xx), o.dx, hn::Mul(set(g.xy), o.dy));
  const V fall = hn::MulAdd(along_x, o.dx, hn::Mul(hn::Mul(set(g.yy), o.dy), o.dy));
  // 0 <= fall < reach in one comparison: as unsigned numbers, negative floats are the largest.
  o.in_reach = hn::RebindMask(D(), hn::Lt(hn::BitCast(DU(), fall), hn::BitCast(DU(), set(g.reach))));
  o.value = hn::IfThenElseZero(o.in_reach, exp2_in_range(hn::Sub(set(g.log2_opacity), fall)));
  return o;
}

}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
