#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "random/normal_stream.h"

namespace eg4d {

// MT19937 (Matsumoto and Nishimura, "Mersenne Twister", ACM TOMACS 1998).
class MersenneTwister {
 public:
  explicit MersenneTwister(uint32_t seed);
  uint32_t next_u32();
  uint64_t next_u64();  // the first draw is the high word

 private:
  void refill();
  std::array<uint32_t, 624> state_;
  size_t next_ = 624;
};

// torch.manual_seed(seed) followed by torch.randn on the CPU, to the last few bits of a float.
// Fewer than 16 numbers: Box-Muller in double, one pair at a time, the unused half kept for the next such
// call. 16 or more: uniforms of 24 bits, turned into normals in blocks of 16 (numbers i and i+8 of a block
// are a pair); a last block that is not full is drawn again over the last 16 numbers.
class TorchCpuStream : public NormalStream {
 public:
  explicit TorchCpuStream(uint64_t seed) : twister_(static_cast<uint32_t>(seed)) {}
  void draw(std::span<float> values) override;

 private:
  double uniform();
  double normal();
  float uniform_float();
  void draw_block(float* block);
  MersenneTwister twister_;
  std::optional<double> spare_;
};

// What of a GPU decides how PyTorch shares a draw out to threads. The default is an A100.
struct TorchCudaDevice {
  int multiprocessors = 108;
  int threads_per_multiprocessor = 2048;
};

// By name (v100, a100, h100, h200, a6000, rtx3090, rtx4090, l40s) or as "108x2048"; throws UsageError for
// another.
TorchCudaDevice torch_cuda_device(const std::string& name);

// torch.manual_seed(seed) followed by torch.randn on a CUDA device, to the last few bits of a float:
// Philox4x32-10 with one subsequence per GPU thread; each thread turns a block of four words into two
// Box-Muller pairs and stores the four numbers a whole grid apart.
class TorchCudaStream : public NormalStream {
 public:
  TorchCudaStream(uint64_t seed, TorchCudaDevice device) : seed_(seed), device_(device) {}
  void draw(std::span<float> values) override;

 private:
  uint64_t seed_;
  TorchCudaDevice device_;
  uint64_t offset_ = 0;  // in blocks of four words
};

}  // namespace eg4d
