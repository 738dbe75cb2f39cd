#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace eg4d {

// A source of standard normal numbers, drawn a tensor at a time. One call is one `torch.randn` where the
// stream imitates PyTorch: what a call returns depends on the sizes of the calls before it.
class NormalStream {
 public:
  virtual ~NormalStream() = default;
  virtual void draw(std::span<float> values) = 0;
};

// The stream that --rng names:
//   philox                          the default: the n-th number depends on the seed and n alone
//   torch-cpu                       torch.manual_seed(seed); torch.randn(shape)
//   torch-cuda[:NAME|:SxT]          the same on a CUDA device. Draws above about 10^5 numbers depend on
//                                   the GPU: give its name (a100, h100, …: torch_cuda_device) or S
//                                   multiprocessors of T threads each.
// Throws UsageError for another name.
std::unique_ptr<NormalStream> make_normal_stream(const std::string& name, uint64_t seed);

// Standard normals drawn as one array [n, channels, pixels], returned as [n, pixels, channels].
std::vector<float> draw_channels_last(NormalStream& stream, size_t n, size_t channels, size_t pixels);

}  // namespace eg4d
