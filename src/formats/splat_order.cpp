#include "formats/splat_order.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace eg4d::splat {
namespace {

constexpr uint64_t kSteps = (1u << 21) - 1;

// Two zero bits before each of the 21 lowest bits.
uint64_t spread(uint64_t x) {
  x &= kSteps;
  x = (x | x << 32) & 0x001f00000000ffff;
  x = (x | x << 16) & 0x001f0000ff0000ff;
  x = (x | x << 8) & 0x100f00f00f00f00f;
  x = (x | x << 4) & 0x10c30c30c30c30c3;
  return (x | x << 2) & 0x1249249249249249;
}

}  // namespace

std::vector<uint32_t> morton_order(const GaussianCloud& cloud) {
  const auto count = static_cast<size_t>(cloud.count());
  float low[3] = {INFINITY, INFINITY, INFINITY}, high[3] = {-INFINITY, -INFINITY, -INFINITY};
  for (size_t i = 0; i < count * 3; ++i) {
    low[i % 3] = std::min(low[i % 3], cloud.positions[i]);
    high[i % 3] = std::max(high[i % 3], cloud.positions[i]);
  }
  std::vector<uint64_t> codes(count);
  for (size_t i = 0; i < count; ++i)
    for (size_t axis = 0; axis < 3; ++axis) {
      const double extent = static_cast<double>(high[axis]) - low[axis];
      const double share = extent > 0 ? (cloud.positions[3 * i + axis] - low[axis]) / extent : 0;
      codes[i] |= spread(static_cast<uint64_t>(share * static_cast<double>(kSteps))) << axis;
    }
  std::vector<uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return codes[a] < codes[b]; });
  return order;
}

}  // namespace eg4d::splat
