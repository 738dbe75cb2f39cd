#include <algorithm>
#include <vector>

#include "backend/cpu/deformation_network.h"
#include "backend/cpu/gemm.h"
#include "backend/cpu/splat_kernels.h"
#include "core/threads.h"

namespace eg4d::cpu {
namespace {

// Where a layer's gradients lie in a part's private accumulator.
struct LayerGradient {
  const DenseLayer* layer = nullptr;
  int64_t offset = 0;
};

// The rows are divided into parts, whatever the number of threads; each part sums its weight gradients
// privately, and the parts are added in order.
class NetworkBackward {
 public:
  explicit NetworkBackward(const DeformationNetwork& network)
      : network_(network), layout_(network_activations(network)) {
    for (const DenseLayer& layer : network.trunk) add_layer(layer);
    for (const DeformationNetwork::Head& head : network.heads) {
      if (!head.output || !head.d_output) continue;
      add_layer(head.hidden);
      add_layer(head.last);
    }
    constexpr int64_t kMostParts = 32;
    rows_per_part_ = std::max<int64_t>(512, (network.count + kMostParts - 1) / kMostParts);
  }

  void run() {
    const int64_t parts = (network_.count + rows_per_part_ - 1) / rows_per_part_;
    accumulators_.resize(static_cast<size_t>(parts));
    parallel_for(network_.count, rows_per_part_, [&](int64_t begin, int64_t end) {
      std::vector<float>& sums = accumulators_[static_cast<size_t>(begin / rows_per_part_)];
      sums.assign(static_cast<size_t>(gradient_size_), 0.0f);
      for (int64_t row = begin; row < end; row += kNetworkRows)
        rows(row, std::min(end, row + kNetworkRows), sums.data());
    });
    for (const LayerGradient& gradient : gradients_) {
      const DenseLayer& layer = *gradient.layer;
      reduce(gradient.offset, int64_t{layer.in} * layer.out, layer.d_weight);
      reduce(gradient.offset + int64_t{layer.in} * layer.out, layer.out, layer.d_bias);
    }
  }

 private:
  void add_layer(const DenseLayer& layer) {
    gradients_.push_back({&layer, gradient_size_});
    gradient_size_ += int64_t{layer.out} * (layer.in + 1);
  }

  void reduce(int64_t offset, int64_t count, float* to) {
    if (!to) return;
    parallel_for(count, 4096, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        float sum = 0;
        for (const std::vector<float>& part : accumulators_) sum += part[static_cast<size_t>(offset + i)];
        to[i] += sum;
      }
    });
  }

  // d_y [rows,out] → weight and bias gradients.
  void layer_gradients(const LayerGradient& gradient, const float* x, const float* d_y, int64_t rows,
                       float* sums) {
    const DenseLayer& layer = *gradient.layer;
    float* d_weight = sums + gradient.offset;
    if (layer.d_weight) {
      gemm({.m = layer.out,
            .n = layer.in,
            .k = rows,
            .a = d_y,
            .lda = layer.out,
            .transpose_a = true,
            .b = x,
            .ldb = layer.in,
            .c = d_weight,
            .ldc = layer.in,
            .beta = 1});
    }
    if (!layer.d_bias) return;
    float* d_bias = d_weight + int64_t{layer.in} * layer.out;
    for (int64_t row = 0; row < rows; ++row)
      for (int o = 0; o < layer.out; ++o) d_bias[o] += d_y[row * layer.out + o];
  }

  // d_x [rows,in] = d_y·W + beta·d_x.
  static void input_gradient(const DenseLayer& layer, const float* d_y, int64_t rows, float* d_x,
                             float beta) {
    gemm({.m = rows,
          .n = layer.in,
          .k = layer.out,
          .a = d_y,
          .lda = layer.out,
          .b = layer.weight,
          .ldb = layer.in,
          .c = d_x,
          .ldc = layer.in,
          .beta = beta});
  }

  // Through the ReLU whose result is `activation`.
  static void relu_gradient(const float* activation, int64_t count, float* d) {
    for (int64_t i = 0; i < count; ++i) d[i] = activation[i] > 0 ? d[i] : 0;
  }

  const float* activation(int64_t offset, int out, int64_t row) const {
    return network_.activations + offset * network_.count + row * out;
  }

  void rows(int64_t begin, int64_t end, float* sums) {
    const int64_t rows = end - begin;
    const DenseLayer& last_trunk = network_.trunk.back();
    const float* trunk_out = activation(layout_.trunk.back(), last_trunk.out, begin);
    std::vector<float> d_y(static_cast<size_t>(rows * last_trunk.out)), d_x;
    size_t gradient = network_.trunk.size();
    for (size_t i = 0; i < network_.heads.size(); ++i) {
      const DeformationNetwork::Head& head = network_.heads[i];
      if (!head.output || !head.d_output) continue;
      const float* hidden = activation(layout_.heads[i], head.hidden.out, begin);
      const float* d_output = head.d_output + begin * head.last.out;
      d_x.resize(static_cast<size_t>(rows * head.hidden.out));
      layer_gradients(gradients_[gradient + 1], hidden, d_output, rows, sums);
      input_gradient(head.last, d_output, rows, d_x.data(), 0);
      relu_gradient(hidden, rows * head.hidden.out, d_x.data());
      layer_gradients(gradients_[gradient], trunk_out, d_x.data(), rows, sums);
      input_gradient(head.hidden, d_x.data(), rows, d_y.data(), 1);
      gradient += 2;
    }
    for (size_t i = network_.trunk.size(); i-- > 0;) {
      const DenseLayer& layer = network_.trunk[i];
      relu_gradient(activation(layout_.trunk[i], layer.out, begin), rows * layer.out, d_y.data());
      const float* x =
          i > 0 ? activation(layout_.trunk[i - 1], layer.in, begin) : network_.features + begin * layer.in;
      layer_gradients(gradients_[i], x, d_y.data(), rows, sums);
      if (i == 0) break;
      d_x.resize(static_cast<size_t>(rows * layer.in));
      input_gradient(layer, d_y.data(), rows, d_x.data(), 0);
      d_y.swap(d_x);
    }
    if (network_.d_features)
      input_gradient(network_.trunk.front(), d_y.data(), rows,
                     network_.d_features + begin * network_.trunk.front().in, 1);
  }

  const DeformationNetwork& network_;
  const NetworkActivations layout_;
  std::vector<LayerGradient> gradients_;  // trunk layers, then hidden and last of every head with a gradient
  int64_t gradient_size_ = 0, rows_per_part_ = 0;
  std::vector<std::vector<float>> accumulators_;
};

}  // namespace

void deformation_network_backward(const DeformationNetwork& network) {
  if (network.count > 0) NetworkBackward(network).run();
}

}  // namespace eg4d::cpu
