#pragma once

#include <cstdint>
#include <vector>

namespace eg4d {

// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): counter-based, so
// that a stream is two integers in a checkpoint and the n-th number needs none of those before it.
class Philox {
 public:
  // Streams of one seed with different numbers are independent.
  explicit Philox(uint64_t seed = 0, uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  uint32_t next_u32();
  float uniform();                        // [0, 1)
  float normal();                         // mean 0, variance 1 (Box-Muller)
  uint32_t below(uint32_t bound);         // uniform in [0, bound), bound > 0
  void shuffle(std::vector<int>& items);  // Fisher-Yates

  // State for checkpoints: numbers drawn so far.
  uint64_t position() const { return position_; }
  void seek(uint64_t position) { position_ = position; }

  // The four words of block `counter`.
  static constexpr void block(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t out[4]) {
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
  // Block `counter` as four numbers of mean 0 and variance 1 (Box-Muller on core/portable_math.h): the same
  // bits on every device that adds, multiplies, divides and takes square roots in double precision as IEEE
  // 754 says.
  static void normals(uint64_t seed, uint64_t stream, uint64_t counter, float out[4]);

 private:
  uint64_t seed_, stream_;
  uint64_t position_ = 0;
  uint64_t cached_block_ = ~uint64_t{0};
  uint32_t cache_[4] = {};
};

}  // namespace eg4d
