#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "core/error.h"
#include "io/onnx.h"
#include "vision/u2net.h"

namespace eg4d {
namespace {

using Node = OnnxGraph::Node;
using Sources = std::vector<size_t>;

// Operations through which a value's origin is followed; of these only the first input counts …
constexpr const char* kOneInput[] = {"Relu",     "MaxPool", "BatchNormalization", "Resize",
                                     "Upsample", "Sigmoid", "Identity",           "Cast"};
// … and of these all.
constexpr const char* kAllInputs[] = {"Concat", "Add"};

template <size_t N>
bool is_one_of(const std::string& operation, const char* const (&names)[N]) {
  return std::find(std::begin(names), std::end(names), operation) != std::end(names);
}

class OnnxWeights {
 public:
  explicit OnnxWeights(const std::filesystem::path& path) : path_(path), graph_(read_onnx(path)) {
    follow_aliases();
    trace();
    const Matches u2net = match(U2Net::Kind::u2net), isnet = match(U2Net::Kind::isnet);
    const bool is_isnet = isnet.count > u2net.count;
    take(is_isnet ? isnet : u2net);
  }
  WeightMap result() { return std::move(weights_); }

 private:
  struct Stored {
    const Node* node = nullptr;
    const Node* norm = nullptr;  // the batch norm behind it, where it was not folded
    Sources sources;             // earlier convolutions, by their place in stored_
  };
  struct Matches {
    std::vector<U2NetConvolution> graph;
    std::vector<std::optional<size_t>> stored;  // for each of the graph
    size_t count = 0;
    std::string problem;
  };

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(fmt::format("'{}' is not U²-Net (nor U²-Netp or IS-Net): {}", path_.string(), what));
  }

  // Tensors that several nodes share may be handed on by Identity nodes.
  void follow_aliases() {
    for (const Node& node : graph_.nodes)
      if (node.operation == "Identity" && node.inputs.size() == 1 && node.outputs.size() == 1)
        if (const auto found = graph_.initializers.find(node.inputs[0]); found != graph_.initializers.end())
          graph_.initializers[node.outputs[0]] = found->second;
  }

  void trace() {
    for (const std::string& input : graph_.inputs) origin_[input] = {};
    for (const Node& node : graph_.nodes) {
      if (node.inputs.empty() || node.outputs.empty()) continue;
      const auto first = origin_.find(node.inputs[0]);
      if (node.operation == "Conv") {
        if (first == origin_.end()) fail("one of its convolutions has an input of unknown origin");
        const Sources sources = first->second;
        producer_[node.outputs[0]] = stored_.size();
        origin_[node.outputs[0]] = {stored_.size()};
        stored_.push_back({&node, nullptr, sources});
      } else if (is_one_of(node.operation, kOneInput)) {
        if (first != origin_.end()) origin_[node.outputs[0]] = Sources(first->second);
        const auto convolution = producer_.find(node.inputs[0]);
        if (node.operation == "BatchNormalization" && convolution != producer_.end())
          stored_[convolution->second].norm = &node;
      } else if (is_one_of(node.operation, kAllInputs)) {
        unite(node);
      }
    }
    if (stored_.empty()) fail("it has no convolutions");
  }

  void unite(const Node& node) {
    std::set<size_t> all;
    bool known = false;
    for (const std::string& input : node.inputs)
      if (const auto found = origin_.find(input); found != origin_.end()) {
        all.insert(found->second.begin(), found->second.end());
        known = true;
      }
    if (known) origin_[node.outputs[0]] = Sources(all.begin(), all.end());
  }

  // A single number or a pair of equal ones; nothing else fits.
  static int64_t number(const Node& node, const char* name, int64_t otherwise) {
    const auto found = node.numbers.find(name);
    if (found == node.numbers.end()) return otherwise;
    const std::vector<int64_t>& values = found->second;
    return std::all_of(values.begin(), values.end(), [&](int64_t v) { return v == values[0]; }) ? values[0]
                                                                                                : -1;
  }

  static bool fits(const Node& node, const U2NetConvolution& wanted) {
    return number(node, "kernel_shape", wanted.kernel) == wanted.kernel &&
           number(node, "strides", 1) == wanted.stride && number(node, "dilations", 1) == wanted.dilation &&
           number(node, "group", 1) == 1;
  }

  Matches match(U2Net::Kind kind) const {
    std::map<Sources, size_t> by_sources;
    for (size_t i = 0; i < stored_.size(); ++i) by_sources.emplace(stored_[i].sources, i);
    Matches matches{u2net_graph(kind), {}, 0, {}};
    for (const U2NetConvolution& wanted : matches.graph) {
      Sources sources;
      bool known = true;
      for (const size_t source : wanted.sources) {
        known = known && matches.stored[source].has_value();
        if (known) sources.push_back(*matches.stored[source]);
      }
      std::sort(sources.begin(), sources.end());
      const auto found = known ? by_sources.find(sources) : by_sources.end();
      if (found == by_sources.end() || !fits(*stored_[found->second].node, wanted)) {
        matches.stored.emplace_back();
        if (wanted.needed && matches.problem.empty())
          matches.problem = fmt::format("no convolution of its graph is where {} belongs", wanted.name);
        continue;
      }
      matches.stored.emplace_back(found->second);
      ++matches.count;
    }
    if (matches.problem.empty() && matches.count != stored_.size())
      matches.problem =
          fmt::format("its graph has {} convolutions more than it should", stored_.size() - matches.count);
    return matches;
  }

  void take(const Matches& matches) {
    if (!matches.problem.empty()) fail(matches.problem);
    weights_.set_path(path_);
    for (size_t i = 0; i < matches.graph.size(); ++i) {
      if (!matches.stored[i]) continue;
      const Stored& stored = stored_[*matches.stored[i]];
      const std::string& name = matches.graph[i].name;
      const OnnxGraph::Tensor& weight = tensor(stored, 1);
      if (weight.shape.size() != 4) fail(fmt::format("the weight of {} has no four axes", name));
      add(name + ".weight", weight);
      if (stored.node->inputs.size() > 2)
        add(name + ".bias", tensor(stored, 2));
      else
        add_zeros(name + ".bias", weight.shape[0]);
      if (stored.norm) add_norm(name, *stored.norm);
    }
  }

  const OnnxGraph::Tensor& tensor(const Stored& stored, size_t input) const {
    if (stored.node->inputs.size() <= input) fail("one of its convolutions has no weights");
    return initializer(stored.node->inputs[input]);
  }
  const OnnxGraph::Tensor& initializer(const std::string& name) const {
    const auto found = graph_.initializers.find(name);
    if (found == graph_.initializers.end()) fail("weights of its convolutions are not stored in it");
    return found->second;
  }
  void add(const std::string& name, const OnnxGraph::Tensor& tensor) {
    weights_.add_tensor(name, tensor.dtype, tensor.shape, tensor.data);
  }
  void add_zeros(const std::string& name, int64_t count) {
    const auto zeros = std::make_shared<std::vector<float>>(static_cast<size_t>(count));
    weights_.add_tensor(name, DType::f32, {count},
                        {zeros, reinterpret_cast<const std::byte*>(zeros->data())});
  }
  // "….conv_s1" → "….bn_s1"
  void add_norm(const std::string& convolution, const Node& norm) {
    const size_t end = convolution.rfind("conv_s1");
    if (end == std::string::npos || norm.inputs.size() < 5) fail("a batch norm is where none belongs");
    const std::string name = convolution.substr(0, end) + "bn_s1.";
    for (size_t i = 0; const char* part : {"weight", "bias", "running_mean", "running_var"})
      add(name + part, initializer(norm.inputs[++i]));
  }

  std::filesystem::path path_;
  OnnxGraph graph_;
  std::vector<Stored> stored_;
  std::map<std::string, Sources> origin_;   // of each value
  std::map<std::string, size_t> producer_;  // the convolution that a value is the result of
  WeightMap weights_;
};

// As the authors' training scripts save them: behind "module." when they ran on several devices; the batch
// norms' counters are no weights.
WeightMap with_plain_names(const WeightMap& weights) {
  WeightMap result = weights;
  for (const auto& [name, item] : weights.items()) {
    result.remove(name);
    if (name.ends_with(".num_batches_tracked")) continue;
    result.add_item(name.starts_with("module.") ? name.substr(7) : name, item);
  }
  return result;
}

}  // namespace

WeightMap read_u2net_weights(const std::filesystem::path& path) {
  if (path.extension() == ".onnx") return OnnxWeights(path).result();
  WeightMap weights = with_plain_names(read_weights(path));
  if (!weights.contains("stage1.rebnconvin.conv_s1.weight"))
    throw Error(
        fmt::format("'{}' is not U²-Net (nor U²-Netp or IS-Net): it lacks stage1.rebnconvin.conv_s1.weight",
                    path.string()));
  return weights;
}

}  // namespace eg4d
