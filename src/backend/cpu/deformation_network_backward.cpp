#include <algorithm>
#include <vector>

#include "backend/cpu/deformation_network.h"
#include "backend/cpu/dense_kernels.h"
#include "backend/cpu/gemm.h"
#include "backend/cpu/ordering.h"
#include "backend/cpu/splat_kernels.h"
#include "backend/cpu/thread_scratch.h"
#include "core/threads.h"

namespace eg4d::cpu {
namespace {

// The first two are the calling thread's, which also uses the others.
enum ScratchUse { kActive, kPartSums, kInput, kShared, kDerivative, kOtherDerivative, kOutput };

// Where a layer's weight gradient lies in a part's sums, its bias gradient behind it.
struct LayerGradient {
  const DenseLayer* layer = nullptr;
  int64_t offset = 0;
};

// The rows are divided into parts, whatever the number of threads; each part sums its weight gradients
// privately, and the parts are added in order. Rows whose outputs have no derivative (Gaussians that no pixel
// saw) are left out when they are many.
class NetworkBackward {
 public:
  explicit NetworkBackward(const DeformationNetwork& network)
      : network_(network), layout_(network_activations(network)) {
    for (const DenseLayer& layer : network.trunk) add_layer(layer);
    for (size_t i = 0; i < network.heads.size(); ++i) {
      if (!network.heads[i].output || !network.heads[i].d_output) continue;
      heads_.push_back({&network.heads[i], layout_.heads[i]});
      add_layer(network.heads[i].hidden);
      add_layer(network.heads[i].last);
    }
  }

  void run() {
    find_active_rows();
    constexpr int64_t kMostParts = 16, kFewestRows = 2 * kNetworkRows;
    const int64_t rows_per_part = std::max(kFewestRows, (count_ + kMostParts - 1) / kMostParts);
    parts_ = (count_ + rows_per_part - 1) / rows_per_part;
    float* sums = scratch(kPartSums, parts_ * sums_size_);
    parallel_for(count_, rows_per_part, [&](int64_t begin, int64_t end) {
      float* part = sums + begin / rows_per_part * sums_size_;
      std::fill_n(part, sums_size_, 0.0f);
      for (int64_t row = begin; row < end; row += kNetworkRows)
        rows(row, std::min(end, row + kNetworkRows), part);
    });
    parallel_for(sums_size_, 1024, [&](int64_t begin, int64_t end) {
      for (const LayerGradient& gradient : gradients_) {
        const int64_t bias = gradient.offset + int64_t{gradient.layer->in} * gradient.layer->out;
        add_parts(sums, begin, end, gradient.offset, bias, gradient.layer->d_weight);
        add_parts(sums, begin, end, bias, bias + gradient.layer->out, gradient.layer->d_bias);
      }
    });
  }

 private:
  struct ActiveHead {
    const DeformationNetwork::Head* head;
    int64_t offset;  // of its hidden layer in the activations
  };

  void add_layer(const DenseLayer& layer) {
    gradients_.push_back({&layer, sums_size_});
    sums_size_ += int64_t{layer.out} * (layer.in + 1);
  }

  void find_active_rows() {
    int32_t* active = scratch<int32_t>(kActive, network_.count);
    count_ = select_indices(network_.count, active, [&](int64_t row) {
      return std::any_of(heads_.begin(), heads_.end(), [&](const ActiveHead& h) {
        const int out = h.head->last.out;
        const float* d = h.head->d_output + row * out;
        return std::any_of(d, d + out, [](float v) { return !(v == 0); });
      });
    });
    if (count_ * 10 > network_.count * 9) {
      count_ = network_.count;  // not worth copying rows together
    } else {
      active_ = active;
    }
  }

  // Rows [begin, end) of the active rows of an array [N,width], contiguous.
  const float* take(const float* array, int64_t width, int64_t begin, int64_t end, ScratchUse slot) const {
    if (!active_) return array + begin * width;
    float* rows = scratch(slot, (end - begin) * width);
    for (int64_t i = begin; i < end; ++i)
      std::copy_n(array + active_[i] * width, width, rows + (i - begin) * width);
    return rows;
  }
  const float* take_activation(int64_t offset, int64_t width, int64_t begin, int64_t end,
                               ScratchUse slot) const {
    return take(network_.activations + offset * network_.count, width, begin, end, slot);
  }

  // The sums [begin, end) of all parts, as far as they are of the gradient `to`, which has the sums
  // [first, behind).
  void add_parts(const float* sums, int64_t begin, int64_t end, int64_t first, int64_t behind,
                 float* to) const {
    if (!to) return;
    begin = std::max(begin, first);
    end = std::min(end, behind);
    for (int64_t part = 0; part < parts_; ++part)
      for (int64_t i = begin; i < end; ++i) to[i - first] += sums[part * sums_size_ + i];
  }

  // Weight and bias gradients of a layer from its input x and d_y.
  static void layer_gradient(const LayerGradient& gradient, const float* x, const float* d_y, int64_t rows,
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
    if (layer.d_bias) add_column_sums(d_y, rows, layer.out, d_weight + int64_t{layer.in} * layer.out);
  }

  // d_x[rows,in] = d_y·W + beta·d_x
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

  // Heads: returns the derivative with respect to the trunk's output (before its ReLU's mask).
  float* head_rows(const float* shared, int64_t begin, int64_t end, float* sums) const {
    const int64_t rows = end - begin;
    float* d_shared = scratch(kDerivative, rows * network_.trunk.back().out);
    if (heads_.empty()) std::fill_n(d_shared, rows * network_.trunk.back().out, 0.0f);
    for (size_t i = 0; i < heads_.size(); ++i) {
      const DeformationNetwork::Head& head = *heads_[i].head;
      const LayerGradient& hidden_gradient = gradients_[network_.trunk.size() + 2 * i];
      const LayerGradient& last_gradient = gradients_[network_.trunk.size() + 2 * i + 1];
      const float* hidden = take_activation(heads_[i].offset, head.hidden.out, begin, end, kInput);
      const float* d_output = take(head.d_output, head.last.out, begin, end, kOutput);
      float* d_hidden = scratch(kOtherDerivative, rows * head.hidden.out);
      float* d_weight = sums + last_gradient.offset;
      float* d_bias = d_weight + int64_t{head.last.in} * head.last.out;
      narrow_layer_backward(head.last, hidden, d_output, rows, d_hidden,
                            head.last.d_weight ? d_weight : nullptr, head.last.d_bias ? d_bias : nullptr);
      layer_gradient(hidden_gradient, shared, d_hidden, rows, sums);
      input_gradient(head.hidden, d_hidden, rows, d_shared, i == 0 ? 0 : 1);
    }
    return d_shared;
  }

  void rows(int64_t begin, int64_t end, float* sums) const {
    const int64_t rows = end - begin;
    const size_t last = network_.trunk.size() - 1;
    const float* y = take_activation(layout_.trunk[last], network_.trunk[last].out, begin, end, kShared);
    float* d_y = head_rows(y, begin, end, sums);
    for (size_t i = last + 1; i-- > 0;) {
      const DenseLayer& layer = network_.trunk[i];
      relu_backward(y, rows * layer.out, d_y);
      const ScratchUse slot = (last - i) % 2 == 0 ? kInput : kShared;
      const float* x = i > 0 ? take_activation(layout_.trunk[i - 1], layer.in, begin, end, slot)
                             : take(network_.features, layer.in, begin, end, slot);
      layer_gradient(gradients_[i], x, d_y, rows, sums);
      if (i == 0) break;
      float* d_x = scratch((last - i) % 2 == 0 ? kOtherDerivative : kDerivative, rows * layer.in);
      input_gradient(layer, d_y, rows, d_x, 0);
      d_y = d_x;
      y = x;
    }
    if (network_.d_features) feature_gradient(d_y, begin, end);
  }

  void feature_gradient(const float* d_y, int64_t begin, int64_t end) const {
    const DenseLayer& first = network_.trunk.front();
    if (!active_) {
      input_gradient(first, d_y, end - begin, network_.d_features + begin * first.in, 1);
      return;
    }
    float* d_x = scratch(kOutput, (end - begin) * first.in);
    input_gradient(first, d_y, end - begin, d_x, 0);
    for (int64_t i = begin; i < end; ++i) {
      float* to = network_.d_features + active_[i] * first.in;
      for (int64_t k = 0; k < first.in; ++k) to[k] += d_x[(i - begin) * first.in + k];
    }
  }

  const DeformationNetwork& network_;
  const NetworkActivations layout_;
  std::vector<ActiveHead> heads_;         // those with a derivative
  std::vector<LayerGradient> gradients_;  // trunk layers, then hidden and last of these heads
  int64_t sums_size_ = 0, parts_ = 0;
  int64_t count_ = 0;                // rows handled
  const int32_t* active_ = nullptr;  // their indices; null = all
};

}  // namespace

void deformation_network_backward(const DeformationNetwork& network) {
  if (network.count > 0) NetworkBackward(network).run();
}

}  // namespace eg4d::cpu
