#include "vision/bit_backbone.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "nn/packed_convolution.h"

namespace eg4d {
namespace {

constexpr double kWeightEpsilon = 1e-8;
constexpr float kNormEpsilon = 1e-5f;
constexpr int64_t kColors = 3, kStemKernel = 7;

// Every output's weights get mean 0 and deviation 1.
std::vector<float> standardized(std::vector<float> weight, int64_t outputs) {
  const size_t count = weight.size() / static_cast<size_t>(outputs);
  for (size_t begin = 0; begin + count <= weight.size() && count > 0; begin += count) {
    double mean = 0, variance = 0;
    for (size_t i = 0; i < count; ++i) mean += weight[begin + i];
    mean /= static_cast<double>(count);
    for (size_t i = 0; i < count; ++i) variance += (weight[begin + i] - mean) * (weight[begin + i] - mean);
    variance /= static_cast<double>(count);
    const double scale = 1 / std::sqrt(variance + kWeightEpsilon);
    for (size_t i = 0; i < count; ++i)
      weight[begin + i] = static_cast<float>((weight[begin + i] - mean) * scale);
  }
  return weight;
}

// What "SAME" pads so that ⌈extent/stride⌉ come out; an odd one more goes behind.
int64_t same_padding(int64_t extent, int64_t kernel, int64_t stride) {
  const int64_t out = (extent + stride - 1) / stride;
  return std::max<int64_t>((out - 1) * stride + kernel - extent, 0);
}

}  // namespace

BitBackbone::Unit::Unit(const Loader& loader, const char* convolution_name, const char* norm_name, int64_t in,
                        int64_t kernel, int64_t unit_stride)
    : stride(unit_stride) {
  const std::string weight = std::string(convolution_name) + ".weight", norms = norm_name;
  const int64_t out =
      loader.extent({{weight.c_str(), 0}, {(norms + ".weight").c_str(), 0}, {(norms + ".bias").c_str(), 0}});
  convolution = packed_convolution(loader, {in, out, kernel, kernel, nullptr},
                                   standardized(loader.values(weight, {out, in, kernel, kernel}), out));
  norm = loader.group_norm(norms, out, kNormEpsilon);
}

Tensor BitBackbone::Unit::operator()(Session& session, const Tensor& x, Activation activation) const {
  Convolution a;
  a.batch = x.dim(0);
  a.height = x.dim(1);
  a.width = x.dim(2);
  a.stride = stride;
  const int64_t rows = same_padding(a.height, convolution.kernel_height, stride),
                columns = same_padding(a.width, convolution.kernel_width, stride);
  a.pad_top = rows / 2;
  a.pad_bottom = rows - a.pad_top;
  a.pad_left = columns / 2;
  a.pad_right = columns - a.pad_left;
  const Tensor y = session.empty(
      {a.batch, (a.height + stride - 1) / stride, (a.width + stride - 1) / stride, convolution.out});
  a.x = x.array();
  a.weight = convolution.weight.get();
  a.y = y.array();
  session.run(a);
  group_norm(session, norm, y, y, {.activation = activation});
  return y;
}

BitBackbone::Block BitBackbone::load_block(const Loader& loader, int64_t in, int64_t stride) {
  Block block;
  block.first = Unit(loader, "conv1", "norm1", in, 1, 1);
  block.second = Unit(loader, "conv2", "norm2", block.first.convolution.out, 3, stride);
  block.third = Unit(loader, "conv3", "norm3", block.second.convolution.out, 1, 1);
  const int64_t out = block.third.convolution.out;
  block.projects = in != out || stride != 1 || loader.has_below("downsample", 2);
  if (block.projects) block.skip = Unit(loader, "downsample.conv", "downsample.norm", in, 1, stride);
  if (block.projects && block.skip.convolution.out != out)
    loader.complain(fmt::format("'{}downsample.conv.weight' has {} outputs, expected {}", loader.path(),
                                block.skip.convolution.out, out));
  return block;
}

BitBackbone::BitBackbone(const Loader& loader) {
  stem_ = Unit(loader, "embedder.convolution", "embedder.norm", kColors, kStemKernel, 2);
  int64_t width = stem_.convolution.out;
  for (int64_t i = 0, count = loader.children("encoder.stages"); i < count; ++i) {
    std::vector<Block>& stage = stages_.emplace_back();
    const Loader part = loader.at(fmt::format("encoder.stages.{}", i));
    for (int64_t j = 0, blocks = std::max<int64_t>(part.children("layers"), 1); j < blocks; ++j) {
      stage.push_back(load_block(part.at(fmt::format("layers.{}", j)), width, i > 0 && j == 0 ? 2 : 1));
      width = stage.back().third.convolution.out;
    }
  }
}

Tensor BitBackbone::apply(Session& session, const Block& block, const Tensor& x) {
  Tensor y;
  {
    const Tensor first = block.first(session, x, Activation::relu);
    const Tensor second = block.second(session, first, Activation::relu);
    y = block.third(session, second, Activation::none);
  }
  const Tensor skip = block.projects ? block.skip(session, x, Activation::none) : x;
  session.run(ScaledSum{
      .count = y.count(), .a = y.array(), .b = skip.array(), .a_scale = 1, .b_scale = 1, .y = y.array()});
  session.run(Activate{.count = y.count(), .activation = Activation::relu, .x = y.array(), .y = y.array()});
  return y;
}

std::vector<Tensor> BitBackbone::operator()(Session& session, const Tensor& pictures) const {
  std::vector<Tensor> features;
  // All values are at least 0: "SAME" padding by zeros changes no largest value.
  Tensor x = max_pool(session, stem_(session, pictures, Activation::relu), 3);
  for (const std::vector<Block>& stage : stages_) {
    for (const Block& block : stage) x = apply(session, block, x);
    features.push_back(x);
  }
  return features;
}

}  // namespace eg4d
