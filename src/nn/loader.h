#pragma once

#include <initializer_list>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "nn/layers.h"
#include "nn/weights.h"

namespace eg4d {

// Makes a network's layers from a checkpoint's tensors, strictly: every tensor must be there, in its shape,
// and be used. A network is described by a function `build(Loader&)` that asks for its layers; load() first
// calls it only to check names and shapes against the file (no data are read), then to make the layers.
class Loader {
 public:
  // `prefix` ends with a dot, or is empty. Throws Error that names the file and the missing, surplus and
  // misshaped tensors.
  template <class Build>
  static auto load(Backend& backend, const WeightMap& weights, const std::string& prefix,
                   const NetworkType& type, Build&& build) {
    check(weights, prefix, build);
    Loader loader(&backend, weights, prefix, type);
    return build(loader);
  }
  template <class Build>
  static void check(const WeightMap& weights, const std::string& prefix, Build&& build) {
    Loader loader(nullptr, weights, prefix, {});
    build(loader);
    loader.finish();
  }

  // The part of the network below a name: at("input_blocks.0").
  Loader at(const std::string& name) const;
  const std::string& path() const { return path_; }  // below the network's own prefix, with its dot

  bool has(const std::string& name) const { return weights_->contains(prefix_ + name); }
  // A part is there when several tensors say so: a stray one makes no part but is surplus.
  bool has_below(const std::string& name, int at_least = 1) const;
  // How many of name.0, name.1, … there are, each of at least so many tensors.
  int64_t children(const std::string& name, int tensors_of_each = 3) const;

  // An extent of the architecture as most of these tensors' shapes tell it, so that one wrong tensor is found
  // out.
  struct Axis {
    const char* name;
    size_t axis;
    int64_t multiple = 1;  // the axis is this many times the extent
  };
  int64_t extent(std::initializer_list<Axis> axes) const;

  // scale: factor on weight and bias. feed_forward: a layer of such a network, whose products may be fp8.
  struct Options {
    bool bias = true;
    float scale = 1;
    bool feed_forward = false;
  };
  LinearLayer linear(const std::string& name, int64_t in, int64_t out) const {
    return linear(name, in, out, {});
  }
  LinearLayer linear(const std::string& name, int64_t in, int64_t out, const Options& options) const;
  // Several layers of the same input as one: the outputs lie side by side.
  LinearLayer stacked_linear(std::initializer_list<const char*> names, int64_t in, int64_t out_each,
                             const Options& options) const;
  ConvolutionLayer convolution(const std::string& name, int64_t in, int64_t out, int64_t kernel) const;
  // Over three frames: [out,in,3,1,1].
  ConvolutionLayer frame_convolution(const std::string& name, int64_t in, int64_t out, float scale = 1) const;
  NormLayer norm(const std::string& name, int64_t channels, float epsilon) const;
  // One that group_norm() takes: kGroups must divide the channels.
  NormLayer group_norm(const std::string& name, int64_t channels, float epsilon) const;
  float scalar(const std::string& name) const;  // shape [1]
  // Constants that activations are made of, in their type; undefined when only checking.
  Tensor constants(Shape shape, const std::vector<float>& values) const;
  // A bare tensor on the host, empty when only checking.
  std::vector<float> values(const std::string& name, const Shape& shape) const;
  // Part of the checkpoint, but nothing here needs it.
  void unused(const std::string& name, const Shape& shape) const { expect(name, {shape}); }

  bool checking() const { return backend_ == nullptr; }
  Backend& backend() const { return *backend_; }
  const NetworkType& type() const { return type_; }
  // Something else is wrong with the checkpoint; told together with the rest.
  void complain(const std::string& problem) const { shared_->problems.push_back(problem); }

 private:
  struct Shared {
    std::set<std::string> used;
    std::vector<std::string> problems;
  };
  Loader(Backend* backend, const WeightMap& weights, const std::string& prefix, const NetworkType& type);
  // Notes the tensor as used and compares its shape with the allowed ones (the same numbers in the same
  // order).
  void expect(const std::string& name, std::initializer_list<Shape> shapes) const;
  ConvolutionLayer make_convolution(const std::string& name, const ConvolutionLayer& shape,
                                    float scale) const;
  void add_stored(const std::string& name, StoredWeight& weight) const;  // behind the parts that are there
  std::vector<float> read(const std::string& name) const;
  void finish() const;

  Backend* backend_;
  const WeightMap* weights_;
  std::string root_, path_, prefix_;  // prefix_ = root_ + path_
  NetworkType type_;
  std::shared_ptr<Shared> shared_;
};

// Throws Error that names a tensor under none of these prefixes.
void refuse_surplus(const WeightMap& weights, const std::vector<std::string>& known_prefixes);

}  // namespace eg4d
