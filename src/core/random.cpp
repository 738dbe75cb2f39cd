#include "core/random.h"

#include <cmath>
#include <numbers>
#include <utility>

namespace eg4d {

void Philox::block(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t out[4]) {
  uint32_t c[4] = {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32),
                   static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)};
  uint32_t key[2] = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57} * c[2];
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ key[0];
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ key[1];
    c[0] = n0;
    c[1] = static_cast<uint32_t>(p1);
    c[2] = n2;
    c[3] = static_cast<uint32_t>(p0);
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  for (int i = 0; i < 4; ++i) out[i] = c[i];
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
