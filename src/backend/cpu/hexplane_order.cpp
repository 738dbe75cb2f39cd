#include "backend/cpu/hexplane_order.h"

#include <algorithm>
#include <utility>

#include "backend/cpu/hexplane_sampling.h"
#include "backend/cpu/thread_scratch.h"
#include "core/threads.h"

namespace eg4d::cpu {
namespace {

constexpr int kBitsPerAxis = 7, kDigitBits = 7, kDigits = 3;
constexpr int kKeysSlot = kScratchSlots - 1;

// Moves bit k of a number of 7 bits to bit 3k.
uint32_t spread_bits(uint32_t x) {
  x = (x | x << 8) & 0x0700f00f;
  x = (x | x << 4) & 0x030c30c3;
  return (x | x << 2) & 0x09249249;
}

uint32_t curve_key(const HexPlaneCoordinates& coordinates) {
  constexpr float kCells = 1 << kBitsPerAxis;
  uint32_t key = 0;
  for (int a = 0; a < 3; ++a) {
    const float cell = (coordinates.value[a] + 1) * (kCells / 2);
    const uint32_t index = cell > 0 ? static_cast<uint32_t>(std::min(cell, kCells - 1)) : 0;  // NaN: 0
    key |= spread_bits(index) << a;
  }
  return key;
}

}  // namespace

void sort_along_curve(const HexPlane& field, int64_t count, int32_t* points, int32_t* spare) {
  uint32_t* keys = scratch<uint32_t>(kKeysSlot, field.count);
  parallel_for(count, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) keys[points[i]] = curve_key(hexplane_coordinates(field, points[i]));
  });
  int32_t *from = points, *to = spare;
  for (int digit = 0; digit < kDigits; ++digit) {
    const auto bucket = [&](int32_t point) {
      return keys[point] >> (digit * kDigitBits) & ((1 << kDigitBits) - 1);
    };
    int64_t start[(1 << kDigitBits) + 1] = {};
    for (int64_t i = 0; i < count; ++i) ++start[bucket(from[i]) + 1];
    for (int b = 0; b < 1 << kDigitBits; ++b) start[b + 1] += start[b];
    for (int64_t i = 0; i < count; ++i) to[start[bucket(from[i])]++] = from[i];
    std::swap(from, to);
  }
  if (from != points) std::copy_n(from, count, points);
}

}  // namespace eg4d::cpu
