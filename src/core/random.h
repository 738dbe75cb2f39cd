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
  static void block(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t out[4]);

 private:
  uint64_t seed_, stream_;
  uint64_t position_ = 0;
  uint64_t cached_block_ = ~uint64_t{0};
  uint32_t cache_[4] = {};
};

}  // namespace eg4d
