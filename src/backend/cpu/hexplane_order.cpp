#include "backend/cpu/hexplane_order.h"

#include <algorithm>

#include "backend/cpu/hexplane_sampling.h"
#include "backend/cpu/ordering.h"
#include "backend/cpu/thread_scratch.h"
#include "core/threads.h"

namespace eg4d::cpu {
namespace {

constexpr int kBitsPerAxis = 7;
constexpr int kKeysSlot = kScratchSlots - 1, kOtherSlot = kScratchSlots - 2;

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

void sort_along_curve(const HexPlane& field, int64_t count, int32_t* points) {
  uint64_t* keys = scratch<uint64_t>(kKeysSlot, count);
  parallel_for(count, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      keys[i] = uint64_t{curve_key(hexplane_coordinates(field, points[i]))} << 32 |
                static_cast<uint32_t>(points[i]);
  });
  const uint64_t* sorted = sort_by_upper_half(keys, scratch<uint64_t>(kOtherSlot, count), count);
  parallel_for(count, 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) points[i] = static_cast<int32_t>(sorted[i]);
  });
}

}  // namespace eg4d::cpu
