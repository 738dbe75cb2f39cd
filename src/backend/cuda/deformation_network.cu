// The deformation network. Its square layers are matrix products on the tensor cores, those of all heads in
// one launch; the heads' last layers, a few numbers wide, are bound by reading their input. Weight gradients
// are sums over all Gaussians: partial sums over fixed parts of them, added in order.

#include <algorithm>
#include <vector>

#include "backend/cuda/check.h"
#include "backend/cuda/deformation_network.cuh"
#include "backend/cuda/dense_product.cuh"
#include "backend/cuda/narrow_layers.h"
#include "backend/cuda/splat_kernels.h"

namespace eg4d::cuda {
namespace {

constexpr int64_t kBlocks = 264;  // to fill a large GPU; fixed, because it decides in which order is added

// What both directions know about the network.
class Network {
 public:
  // `backward`: only heads whose output has a derivative.
  Network(const Mlp& network, bool backward) : network_(network) {
    for (const DenseLayer& layer : network.trunk) {
      trunk_.push_back(width_);
      width_ += layer.out;
    }
    for (const Mlp::Head& head : network.heads) {
      if (!head.output) continue;
      if (!backward || head.d_output) heads_.push_back({&head, width_});
      width_ += head.hidden.out;
      hidden_ = head.hidden.out;
      most_outputs_ = std::max(most_outputs_, head.last.out);
      if (head.hidden.out != network.heads.front().hidden.out || head.last.out > kMostNarrowOutputs)
        not_on_this_device(
            "the GPU takes a network whose heads have one width and at most 8 outputs; use --device cpu");
    }
    if (heads_.size() > kMostProducts)
      not_on_this_device("the GPU takes a network of at most 16 heads; use --device cpu");
  }

  struct Head {
    const Mlp::Head* head;
    int64_t offset;  // of its hidden layer in the activations, in units of N floats
  };
  const Mlp& net() const { return network_; }
  const std::vector<Head>& heads() const { return heads_; }
  int64_t rows() const { return network_.count; }
  int64_t activation_floats() const { return width_ * rows(); }
  int hidden() const { return hidden_; }
  int shared() const { return network_.trunk.back().out; }
  int most_outputs() const { return most_outputs_; }
  float* trunk_output(float* activations, size_t layer) const { return activations + trunk_[layer] * rows(); }
  float* hidden_output(float* activations, const Head& head) const {
    return activations + head.offset * rows();
  }
  int64_t row_blocks() const { return narrow_blocks(rows()); }
  int widest() const {
    int most = 1;
    for (const DenseLayer& layer : network_.trunk) most = std::max({most, layer.in, layer.out});
    return most;
  }

 private:
  const Mlp& network_;
  std::vector<int64_t> trunk_;
  std::vector<Head> heads_;
  int64_t width_ = 0;
  int hidden_ = 0, most_outputs_ = 0;
};

// Parts of the sum over the rows of a weight's gradient.
int splits_for(const Network& network, int64_t m, int64_t n, int64_t products) {
  const auto tiles = [](int64_t size) { return (size + kProductTile - 1) / kProductTile; };
  const int64_t blocks = std::max<int64_t>(tiles(m) * tiles(n) * products, 1);  // 0: no head is evaluated
  return static_cast<int>(
      std::clamp<int64_t>(kBlocks / blocks, 1, std::max<int64_t>(network.rows() / 256, 1)));
}
int64_t part_floats(const Network& network, int64_t out, int64_t in, int64_t products) {
  return splits_for(network, out, in, products) * products * out * (in + 1);
}

// Pieces of the workspace of a backward pass.
struct Scratch {
  float *d_hidden, *d_even, *d_odd, *parts;
  int64_t floats;
};
Scratch lay_out(const Network& network, float* memory) {
  const int64_t heads = static_cast<int64_t>(network.heads().size());
  int64_t parts = heads * network.row_blocks() * network.most_outputs() * (network.hidden() + 1);
  parts =
      std::max(parts, part_floats(network, network.hidden(), network.shared(), std::max<int64_t>(heads, 1)));
  for (const DenseLayer& layer : network.net().trunk)
    parts = std::max(parts, part_floats(network, layer.out, layer.in, 1));
  Scratch s{};
  const auto take = [&](float*& piece, int64_t floats) {
    piece = memory ? memory + s.floats : nullptr;
    s.floats += (floats + 63) / 64 * 64;
  };
  take(s.d_hidden, heads * network.rows() * network.hidden());
  take(s.d_even, network.rows() * network.widest());
  take(s.d_odd, network.rows() * network.widest());
  take(s.parts, parts);
  return s;
}

class Backward {
 public:
  Backward(const Network& network, MatrixPrecision precision, float* memory, cudaStream_t stream)
      : network_(network), precision_(precision), scratch_(lay_out(network, memory)), stream_(stream) {}

  void run() {
    const Mlp& net = network_.net();
    float* d_y = scratch_.d_even;
    last_layers();
    hidden_layers(d_y);
    for (size_t i = net.trunk.size(); i-- > 0;) {
      const DenseLayer& layer = net.trunk[i];
      const float* x = i > 0 ? network_.trunk_output(kept(), i - 1) : net.features;
      weight_gradients({{&layer, x, d_y}});
      if (i == 0 && !net.d_features) break;
      float* d_x = i == 0 ? net.d_features : d_y == scratch_.d_even ? scratch_.d_odd : scratch_.d_even;
      Products p = input_gradient(layer);
      p.product[0] = {.a = d_y, .b = layer.weight, .c = d_x};
      p.count = 1;
      p.mask = i > 0 ? x : nullptr;
      p.accumulate = i == 0;
      launch_products(p, ProductForm::kInputGradient, precision_, stream_);
      d_y = d_x;
    }
  }

 private:
  float* kept() const { return static_cast<float*>(network_.net().activations); }
  float* d_hidden(size_t head) const {
    return scratch_.d_hidden + static_cast<int64_t>(head) * network_.rows() * network_.hidden();
  }

  void last_layers() const {
    NarrowHeads h{.rows = network_.rows(), .in = network_.hidden()};
    const int64_t pitch = network_.hidden() + 1;
    for (size_t i = 0; i < network_.heads().size(); ++i) {
      const Network::Head& from = network_.heads()[i];
      const DenseLayer& last = from.head->last;
      float* parts =
          scratch_.parts + static_cast<int64_t>(i) * network_.row_blocks() * network_.most_outputs() * pitch;
      h.head[h.count++] = {.hidden = network_.hidden_output(kept(), from),
                           .weight = last.weight,
                           .d_output = from.head->d_output,
                           .d_hidden = d_hidden(i),
                           .parts = parts,
                           .out = last.out};
    }
    if (h.count == 0) return;
    narrow_backward(h, stream_);
    Sums sums;
    for (int i = 0; i < h.count; ++i) {
      const DenseLayer& last = network_.heads()[static_cast<size_t>(i)].head->last;
      const int64_t weights = int64_t{last.out} * last.in, stride = last.out * pitch;
      sums.add({last.d_weight, h.head[i].parts, weights, last.in, pitch, stride, network_.row_blocks()});
      sums.add({last.d_bias, h.head[i].parts + last.in, last.out, 1, pitch, stride, network_.row_blocks()});
    }
    add_parts(sums, stream_);
  }

  Products input_gradient(const DenseLayer& layer) const {
    Products p;
    p.m = network_.rows();
    p.n = layer.in;
    p.k = layer.out;
    p.a_stride = layer.out;
    p.b_stride = layer.in;
    return p;
  }

  // Weight gradients of the hidden layers, and the derivative with respect to what is before the trunk's last
  // ReLU.
  void hidden_layers(float* d_y) const {
    const Mlp& net = network_.net();
    const float* y = network_.trunk_output(kept(), net.trunk.size() - 1);
    if (network_.heads().empty()) {
      check(cudaMemsetAsync(d_y, 0, static_cast<size_t>(network_.rows() * network_.shared()) * sizeof(float),
                            stream_),
            "clearing gradients");
      return;
    }
    std::vector<LayerTask> tasks;
    Products p = input_gradient(network_.heads().front().head->hidden);
    for (size_t i = 0; i < network_.heads().size(); ++i) {
      const DenseLayer& hidden = network_.heads()[i].head->hidden;
      tasks.push_back({&hidden, y, d_hidden(i)});
      p.product[p.count++] = {.a = d_hidden(i), .b = hidden.weight, .c = d_y};
    }
    weight_gradients(tasks);
    p.sum = true;
    p.mask = y;
    launch_products(p, ProductForm::kInputGradient, precision_, stream_);
  }

  struct LayerTask {
    const DenseLayer* layer;
    const float *x, *d_y;
  };
  // Layers of the same sizes.
  void weight_gradients(const std::vector<LayerTask>& tasks) const {
    const DenseLayer& first = *tasks.front().layer;
    const int64_t out = first.out, in = first.in, count = static_cast<int64_t>(tasks.size());
    Products p;
    p.m = out;
    p.n = in;
    p.k = network_.rows();
    p.a_stride = out;
    p.b_stride = in;
    p.splits = splits_for(network_, out, in, count);
    Sums sums;
    const int64_t bias_parts = p.splits * count * out * in;
    for (const LayerTask& task : tasks) {
      float* parts = scratch_.parts + p.count * p.splits * out * in;
      float* row_sums = scratch_.parts + bias_parts + p.count * p.splits * out;
      p.product[p.count++] = {.a = task.d_y, .b = task.x, .c = parts, .row_sums = row_sums};
      sums.add({task.layer->d_weight, parts, out * in, out * in, 0, out * in, p.splits});
      sums.add({task.layer->d_bias, row_sums, out, out, 0, out, p.splits});
    }
    if (sums.count == 0) return;  // frozen
    launch_products(p, ProductForm::kWeightGradient, precision_, stream_);
    add_parts(sums, stream_);
  }

  const Network& network_;
  MatrixPrecision precision_;
  Scratch scratch_;
  cudaStream_t stream_;
};

DenseLayer layer_at(const DeformationNetworkLayout::Layer& layer, const float* weights, float* d_weights) {
  DenseLayer l{layer.in, layer.out, weights + layer.weight, weights + layer.bias};
  if (d_weights) {
    l.d_weight = d_weights + layer.weight;
    l.d_bias = d_weights + layer.bias;
  }
  return l;
}

Mlp mlp_with(const DeformationNetwork& network, float* d_weights, void* activations) {
  const DeformationNetworkLayout& layout = network.context->description.network;
  Mlp mlp;
  mlp.count = network.count;
  mlp.features = network.features;
  mlp.activations = activations;
  for (const auto& layer : layout.trunk) mlp.trunk.push_back(layer_at(layer, network.weights, d_weights));
  for (size_t i = 0; i < layout.heads.size(); ++i)
    mlp.heads.push_back({layer_at(layout.heads[i].hidden, network.weights, d_weights),
                         layer_at(layout.heads[i].last, network.weights, d_weights), network.outputs[i]});
  return mlp;
}

// Parts of bf16 that Hopper's kernels compute with, or 0: they do not.
int hopper_parts(const Mlp& network, MatrixPrecision precision) {
  if (precision == MatrixPrecision::tf32 || !hopper_fits(network)) return 0;
  return precision == MatrixPrecision::f32 ? 2 : 1;
}

}  // namespace

Mlp mlp_of(const DeformationNetwork& network, void* activations) {
  return mlp_with(network, nullptr, activations);
}
Mlp mlp_of(const DeformationNetworkBackward& backward, void* activations) {
  Mlp mlp = mlp_with(backward.forward, backward.d_weights, activations);
  for (size_t i = 0; i < mlp.heads.size(); ++i) mlp.heads[i].d_output = backward.d_outputs[i];
  mlp.d_features = backward.d_features;
  return mlp;
}

size_t mlp_activation_bytes(const Mlp& network) {
  // The kernels for one width keep the features, too, padded.
  const Network n(network, false);
  size_t bytes = static_cast<size_t>(n.activation_floats()) * sizeof(float);
  if (bf16_fits(network)) bytes = std::max(bytes, bf16_activation_bytes(network));
  if (hopper_fits(network)) bytes = std::max(bytes, hopper_activation_bytes(network, 2));
  return bytes;
}

size_t mlp_workspace_bytes(const Mlp& network, MatrixPrecision precision, bool backward) {
  if (const int parts = hopper_parts(network, precision))
    return hopper_workspace_bytes(network, parts, backward);
  const Network n(network, backward);
  const int64_t floats = backward              ? lay_out(n, nullptr).floats
                         : network.activations ? 0
                                               : n.activation_floats();
  const size_t bytes = static_cast<size_t>(floats) * sizeof(float);
  if (precision != MatrixPrecision::bf16 || !bf16_fits(network)) return bytes;
  return bf16_workspace_bytes(network, backward);
}

void mlp_forward(const Mlp& network, MatrixPrecision precision, void* workspace, cudaStream_t stream) {
  if (network.count == 0) return;
  if (const int parts = hopper_parts(network, precision))
    return hopper_forward(network, parts, workspace, stream);
  if (precision == MatrixPrecision::bf16 && bf16_fits(network))
    return bf16_forward(network, workspace, stream);
  const Network n(network, false);
  float* const activations = static_cast<float*>(network.activations ? network.activations : workspace);
  const auto products = [&](const DenseLayer& layer) {
    Products p;
    p.m = n.rows();
    p.n = layer.out;
    p.k = p.a_stride = p.b_stride = layer.in;
    return p;
  };
  const float* x = network.features;
  for (size_t i = 0; i < network.trunk.size(); ++i) {
    const DenseLayer& layer = network.trunk[i];
    Products p = products(layer);
    p.product[p.count++] = {
        .a = x, .b = layer.weight, .c = n.trunk_output(activations, i), .bias = layer.bias};
    launch_products(p, ProductForm::kForward, precision, stream);
    x = n.trunk_output(activations, i);
  }
  if (n.heads().empty()) return;
  Products p = products(n.heads().front().head->hidden);
  NarrowHeads h{.rows = n.rows(), .in = n.hidden()};
  for (const Network::Head& head : n.heads()) {
    float* hidden = n.hidden_output(activations, head);
    p.product[p.count++] = {
        .a = x, .b = head.head->hidden.weight, .c = hidden, .bias = head.head->hidden.bias};
    h.head[h.count++] = {.hidden = hidden,
                         .weight = head.head->last.weight,
                         .bias = head.head->last.bias,
                         .output = head.head->output,
                         .out = head.head->last.out};
  }
  launch_products(p, ProductForm::kForward, precision, stream);
  narrow_forward(h, stream);
}

void mlp_backward(const Mlp& network, MatrixPrecision precision, void* workspace, cudaStream_t stream,
                  const StreamBeside& beside) {
  if (network.count == 0) return;
  if (const int parts = hopper_parts(network, precision))
    return hopper_backward(network, parts, workspace, stream, beside);
  if (precision == MatrixPrecision::bf16 && bf16_fits(network))
    return bf16_backward(network, workspace, stream);
  const Network n(network, true);
  Backward(n, precision, static_cast<float*>(workspace), stream).run();
}

}  // namespace eg4d::cuda
