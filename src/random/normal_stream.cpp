#include "random/normal_stream.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/threads.h"
#include "random/random.h"
#include "random/torch_random.h"

namespace eg4d {
namespace {

class PhiloxNormalStream : public NormalStream {
 public:
  explicit PhiloxNormalStream(uint64_t seed) : seed_(seed) {}
  void draw(std::span<float> values) override {
    constexpr int64_t kGrain = 1 << 14;
    constexpr uint64_t kDrawsEach = 2;  // of Philox::normal
    parallel_for(static_cast<int64_t>(values.size()), kGrain, [&](int64_t begin, int64_t end) {
      Philox random(seed_);
      random.seek(kDrawsEach * (drawn_ + static_cast<uint64_t>(begin)));
      for (int64_t i = begin; i < end; ++i) values[static_cast<size_t>(i)] = random.normal();
    });
    drawn_ += values.size();
  }

 private:
  uint64_t seed_;
  uint64_t drawn_ = 0;  // normals
};

}  // namespace

std::vector<float> draw_channels_last(NormalStream& stream, size_t n, size_t channels, size_t pixels) {
  std::vector<float> drawn(n * channels * pixels), result(drawn.size());
  stream.draw(drawn);
  for (size_t i = 0; i < n; ++i)
    for (size_t c = 0; c < channels; ++c)
      for (size_t p = 0; p < pixels; ++p)
        result[(i * pixels + p) * channels + c] = drawn[(i * channels + c) * pixels + p];
  return result;
}

std::unique_ptr<NormalStream> make_normal_stream(const std::string& name, uint64_t seed) {
  if (name == "philox") return std::make_unique<PhiloxNormalStream>(seed);
  if (name == "torch-cpu") return std::make_unique<TorchCpuStream>(seed);
  const std::string cuda = "torch-cuda";
  if (name == cuda) return std::make_unique<TorchCudaStream>(seed, TorchCudaDevice{});
  if (name.rfind(cuda + ":", 0) == 0)
    return std::make_unique<TorchCudaStream>(seed, torch_cuda_device(name.substr(cuda.size() + 1)));
  throw UsageError(fmt::format(
      "unknown random stream \"{}\": --rng takes philox, torch-cpu, torch-cuda or torch-cuda:GPU", name));
}

}  // namespace eg4d
