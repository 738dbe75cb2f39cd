#include "nn/loader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/error.h"

namespace eg4d {

Loader::Loader(Backend* backend, const WeightMap& weights, const std::string& prefix, const NetworkType& type)
    : backend_(backend),
      weights_(&weights),
      root_(prefix),
      prefix_(prefix),
      type_(type),
      shared_(std::make_shared<Shared>()) {}

Loader Loader::at(const std::string& name) const {
  Loader part = *this;
  part.path_ += name + ".";
  part.prefix_ += name + ".";
  return part;
}

bool Loader::has_below(const std::string& name, int at_least) const {
  const std::string begin = prefix_ + name + ".";
  int count = 0;
  for (auto item = weights_->items().lower_bound(begin);
       count < at_least && item != weights_->items().end() && item->first.starts_with(begin); ++item)
    ++count;
  return count >= at_least;
}

int64_t Loader::children(const std::string& name, int tensors_of_each) const {
  int64_t count = 0;
  // One missing number does not end the row, so that a gap is found as missing tensors.
  const auto there = [&](int64_t number) {
    return has_below(fmt::format("{}.{}", name, number), tensors_of_each);
  };
  while (there(count) || there(count + 1)) ++count;
  return count;
}

int64_t Loader::extent(std::initializer_list<Axis> axes) const {
  std::map<int64_t, int> votes;
  int64_t best = 0;
  for (const Axis& axis : axes) {
    const auto found = weights_->items().find(prefix_ + axis.name);
    if (found == weights_->items().end() || found->second.shape.size() <= axis.axis) continue;
    if (found->second.shape[axis.axis] % axis.multiple != 0) continue;
    const int64_t value = found->second.shape[axis.axis] / axis.multiple;
    if (++votes[value] > votes[best]) best = value;
  }
  if (best > 0) return best;
  throw Error(fmt::format("'{}' lacks the tensor '{}{}': is it a checkpoint of another model?",
                          weights_->path().string(), prefix_, axes.begin()->name));
}

void Loader::expect(const std::string& name, std::initializer_list<Shape> shapes) const {
  const std::string full = prefix_ + name;
  shared_->used.insert(full);
  const auto found = weights_->items().find(full);
  if (found == weights_->items().end()) {
    complain(fmt::format("'{}' is missing", full));
    return;
  }
  const WeightMap::Item& item = found->second;
  if (std::find(shapes.begin(), shapes.end(), item.shape) == shapes.end()) {
    complain(fmt::format("'{}' has shape {}, expected {}", full, to_string(item.shape),
                         to_string(*shapes.begin())));
    return;
  }
  for (const SafetensorsFile::Entry* part : item.parts)
    if (part->dtype != DType::f32 && part->dtype != DType::f16 && part->dtype != DType::bf16 &&
        part->dtype != DType::f64)
      complain(fmt::format("'{}' holds {}, expected f32, f16 or bf16", full, name_of(part->dtype)));
}

void Loader::finish() const {
  std::vector<std::string> problems = shared_->problems;
  for (auto item = weights_->items().lower_bound(root_);
       item != weights_->items().end() && item->first.starts_with(root_); ++item)
    if (!shared_->used.count(item->first)) problems.push_back(fmt::format("'{}' is surplus", item->first));
  if (problems.empty()) return;
  constexpr size_t kShown = 5;
  const std::string more =
      problems.size() > kShown ? fmt::format(" and {} more problems", problems.size() - kShown) : "";
  problems.resize(std::min(problems.size(), kShown));
  throw Error(fmt::format("'{}' does not fit the network: {}{}", weights_->path().string(),
                          fmt::join(problems, "; "), more));
}

void refuse_surplus(const WeightMap& weights, const std::vector<std::string>& known_prefixes) {
  for (const auto& [name, item] : weights.items())
    if (std::none_of(known_prefixes.begin(), known_prefixes.end(),
                     [&name = name](const std::string& prefix) { return name.starts_with(prefix); }))
      throw Error(
          fmt::format("'{}' does not fit the network: '{}' is surplus", weights.path().string(), name));
}

void Loader::add_stored(const std::string& name, StoredWeight& weight) const {
  const StoredWeight more = weights_->stored(prefix_ + name);
  weight.parts.insert(weight.parts.end(), more.parts.begin(), more.parts.end());
}

std::vector<float> Loader::read(const std::string& name) const {
  return weights_->floats(prefix_ + name);
}

// ---------------------------------------------------------------- layers

LinearLayer Loader::linear(const std::string& name, int64_t in, int64_t out, const Options& options) const {
  return stacked_linear({name.c_str()}, in, out, options);
}

LinearLayer Loader::stacked_linear(std::initializer_list<const char*> names, int64_t in, int64_t out_each,
                                   const Options& options) const {
  LinearWeight weight{.in = in, .out = out_each * static_cast<int64_t>(names.size()), .type = type_};
  weight.weight.scale = weight.bias.scale = options.scale;
  if (options.feed_forward && type_.fp8_feed_forward) weight.type.products = NetworkType::Products::fp8;
  for (const std::string name : names) {
    // A 1×1 convolution is the same layer.
    expect(name + ".weight", {{out_each, in}, {out_each, in, 1, 1}});
    if (options.bias) expect(name + ".bias", {{out_each}});
    if (checking()) continue;
    add_stored(name + ".weight", weight.weight);
    if (options.bias) add_stored(name + ".bias", weight.bias);
  }
  LinearLayer layer{weight.in, weight.out, nullptr};
  if (checking()) return layer;
  layer.weight = backend_->pack_linear(weight);
  for (const std::string name : names) weights_->drop(prefix_ + name + ".weight");
  return layer;
}

ConvolutionLayer Loader::make_convolution(const std::string& name, const ConvolutionLayer& shape,
                                          float scale) const {
  if (checking()) return shape;
  ConvolutionWeight weight{.in = shape.in,
                           .out = shape.out,
                           .kernel_height = shape.kernel_height,
                           .kernel_width = shape.kernel_width,
                           .type = type_};
  weight.weight.scale = weight.bias.scale = scale;
  add_stored(name + ".weight", weight.weight);
  add_stored(name + ".bias", weight.bias);
  ConvolutionLayer layer = shape;
  layer.weight = backend_->pack_convolution(weight);
  weights_->drop(prefix_ + name + ".weight");
  return layer;
}

ConvolutionLayer Loader::convolution(const std::string& name, int64_t in, int64_t out, int64_t kernel) const {
  expect(name + ".weight", {{out, in, kernel, kernel}});
  expect(name + ".bias", {{out}});
  return make_convolution(name, {in, out, kernel, kernel, nullptr}, 1);
}

ConvolutionLayer Loader::frame_convolution(const std::string& name, int64_t in, int64_t out,
                                           float scale) const {
  constexpr int64_t kernel = 3;
  expect(name + ".weight", {{out, in, kernel, 1, 1}});
  expect(name + ".bias", {{out}});
  return make_convolution(name, {in, out, kernel, 1, nullptr}, scale);
}

NormLayer Loader::norm(const std::string& name, int64_t channels, float epsilon) const {
  NormLayer layer;
  layer.epsilon = epsilon;
  expect(name + ".weight", {{channels}});
  expect(name + ".bias", {{channels}});
  if (checking()) return layer;
  layer.scale = Tensor::from_host<float>(*backend_, {channels}, read(name + ".weight"));
  layer.shift = Tensor::from_host<float>(*backend_, {channels}, read(name + ".bias"));
  return layer;
}

NormLayer Loader::group_norm(const std::string& name, int64_t channels, float epsilon) const {
  if (channels % kGroups != 0)
    complain(fmt::format("'{}{}.weight' normalises {} channels, which do not divide into {} groups", prefix_,
                         name, channels, kGroups));
  return norm(name, channels, epsilon);
}

float Loader::scalar(const std::string& name) const {
  expect(name, {{1}, {}});
  return checking() ? 0 : read(name).at(0);
}

Tensor Loader::constants(Shape shape, const std::vector<float>& values) const {
  if (checking()) return {};
  const Tensor exact = Tensor::from_host<float>(*backend_, std::move(shape), values);
  return exact.converted(type_.activations);
}

std::vector<float> Loader::values(const std::string& name, const Shape& shape) const {
  expect(name, {shape});
  return checking() ? std::vector<float>() : read(name);
}

}  // namespace eg4d
