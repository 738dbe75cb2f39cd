#include "core/random.h"

#include <cmath>
#include <numbers>
#include <utility>

#include "core/portable_math.h"

namespace eg4d {

void Philox::normals(uint64_t seed, uint64_t stream, uint64_t counter, float out[4]) {
  uint32_t words[4];
  block(seed, stream, counter, words);
  for (int i = 0; i < 4; i += 2) {
    const double uniform = (static_cast<double>(words[i]) + 1.0) * 0x1p-32;  // (0, 1]
    const double radius = std::sqrt(-2.0 * portable::log(uniform));
    const portable::SinCos direction = portable::sin_cos_of_turn(words[i + 1]);
    out[i] = static_cast<float>(radius * direction.cos);
    out[i + 1] = static_cast<float>(radius * direction.sin);
  }
}

uint32_t Philox::next_u32() {
  const uint64_t counter = position_ / 4;
  if (counter != cached_block_) {
    block(seed_, stream_, counter, cache_);
    cached_block_ = counter;
  }
  return cache_[position_++ % 4];
}

float Philox::uniform() {
  return static_cast<float>(next_u32() >> 8) * 0x1p-24f;
}

float Philox::normal() {
  const double u1 = (static_cast<double>(next_u32()) + 1.0) * 0x1p-32;  // (0, 1]
  const double u2 = static_cast<double>(next_u32()) * 0x1p-32;
  return static_cast<float>(std::sqrt(-2.0 * std::log(u1)) * std::cos(2.0 * std::numbers::pi * u2));
}

uint32_t Philox::below(uint32_t bound) {
  return static_cast<uint32_t>((static_cast<uint64_t>(next_u32()) * bound) >> 32);
}

void Philox::shuffle(std::vector<int>& items) {
  for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(static_cast<uint32_t>(i))]);
}

}  // namespace eg4d
