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
  DenseLayer layer;
  float* d_weight = nullptr;  // null = frozen
  float* d_bias = nullptr;
  int64_t offset = 0;
};

// The rows are divided into parts, whatever the number of threads; each part sums its weight gradients
// privately, and the parts are added in order. Rows whose outputs have no derivative (Gaussians that no pixel
// saw) are left out when they are many.
class NetworkBackward {
 public:
  explicit NetworkBackward(const DeformationNetworkBackward& backward)
      : backward_(backward), network_(backward.forward), context_(context_of(network_)) {
    const DeformationNetworkLayout& layout = context_.description.network;
    const HeadActivations kept = context_.head_activations(network_);
    for (const DeformationNetworkLayout::Layer& layer : layout.trunk) add_layer(layer);
    for (size_t i = 0; i < layout.heads.size(); ++i) {
      if (!network_.outputs[i] || !backward.d_outputs[i]) continue;
      heads_.push_back({backward.d_outputs[i], layout.heads[i].last.out, kept.offset[i]});
      add_layer(layout.heads[i].hidden);
      add_layer(layout.heads[i].last);
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
        const int64_t bias = gradient.offset + int64_t{gradient.layer.in} * gradient.layer.out;
        add_parts(sums, begin, end, gradient.offset, bias, gradient.d_weight);
        add_parts(sums, begin, end, bias, bias + gradient.layer.out, gradient.d_bias);
      }
    });
  }

 private:
  struct ActiveHead {
    const float* d_output;  // [N,out]
    int out;
    int64_t offset;  // of its hidden layer in the activations
  };

  void add_layer(const DeformationNetworkLayout::Layer& layer) {
    float* d = backward_.d_weights;
    gradients_.push_back({dense_layer(layer, network_.weights), d ? d + layer.weight : nullptr,
                          d ? d + layer.bias : nullptr, sums_size_});
    sums_size_ += int64_t{layer.out} * (layer.in + 1);
  }

  void find_active_rows() {
    int32_t* active = scratch<int32_t>(kActive, network_.count);
    count_ = select_indices(network_.count, active, [&](int64_t row) {
      return std::any_of(heads_.begin(), heads_.end(), [&](const ActiveHead& h) {
        const float* d = h.d_output + row * h.out;
        return std::any_of(d, d + h.out, [](float v) { return !(v == 0); });
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
    return take(context_.activations.data() + offset * network_.count, width, begin, end, slot);
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
    const DenseLayer& layer = gradient.layer;
    float* d_weight = sums + gradient.offset;
    if (gradient.d_weight) {
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
    if (gradient.d_bias) add_column_sums(d_y, rows, layer.out, d_weight + int64_t{layer.in} * layer.out);
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
    const int64_t width = trunk().back().out;
    float* d_shared = scratch(kDerivative, rows * width);
    if (heads_.empty()) std::fill_n(d_shared, rows * width, 0.0f);
    for (size_t i = 0; i < heads_.size(); ++i) {
      const LayerGradient& first = gradients_[trunk().size() + 2 * i];
      const LayerGradient& last = gradients_[trunk().size() + 2 * i + 1];
      const float* hidden = take_activation(heads_[i].offset, first.layer.out, begin, end, kInput);
      const float* d_output = take(heads_[i].d_output, last.layer.out, begin, end, kOutput);
      float* d_hidden = scratch(kOtherDerivative, rows * first.layer.out);
      float* d_weight = sums + last.offset;
      float* d_bias = d_weight + int64_t{last.layer.in} * last.layer.out;
      narrow_layer_backward(last.layer, hidden, d_output, rows, d_hidden, last.d_weight ? d_weight : nullptr,
                            last.d_bias ? d_bias : nullptr);
      layer_gradient(first, shared, d_hidden, rows, sums);
      input_gradient(first.layer, d_hidden, rows, d_shared, i == 0 ? 0 : 1);
    }
    return d_shared;
  }

  void rows(int64_t begin, int64_t end, float* sums) const {
    const int64_t rows = end - begin;
    const std::vector<int64_t>& offsets = context_.trunk_offsets;
    const size_t last = trunk().size() - 1;
    const float* y = take_activation(offsets[last], trunk()[last].out, begin, end, kShared);
    float* d_y = head_rows(y, begin, end, sums);
    for (size_t i = last + 1; i-- > 0;) {
      const DenseLayer& layer = gradients_[i].layer;
      relu_backward(y, rows * layer.out, d_y);
      const ScratchUse slot = (last - i) % 2 == 0 ? kInput : kShared;
      const float* x = i > 0 ? take_activation(offsets[i - 1], layer.in, begin, end, slot)
                             : take(network_.features, layer.in, begin, end, slot);
      layer_gradient(gradients_[i], x, d_y, rows, sums);
      if (i == 0) break;
      float* d_x = scratch((last - i) % 2 == 0 ? kOtherDerivative : kDerivative, rows * layer.in);
      input_gradient(layer, d_y, rows, d_x, 0);
      d_y = d_x;
      y = x;
    }
    if (backward_.d_features) feature_gradient(d_y, begin, end);
  }

  void feature_gradient(const float* d_y, int64_t begin, int64_t end) const {
    const DenseLayer& first = gradients_.front().layer;
    if (!active_) {
      input_gradient(first, d_y, end - begin, backward_.d_features + begin * first.in, 1);
      return;
    }
    float* d_x = scratch(kOutput, (end - begin) * first.in);
    input_gradient(first, d_y, end - begin, d_x, 0);
    for (int64_t i = begin; i < end; ++i) {
      float* to = backward_.d_features + active_[i] * first.in;
      for (int64_t k = 0; k < first.in; ++k) to[k] += d_x[(i - begin) * first.in + k];
    }
  }

  const std::vector<DeformationNetworkLayout::Layer>& trunk() const {
    return context_.description.network.trunk;
  }

  const DeformationNetworkBackward& backward_;
  const DeformationNetwork& network_;
  const CpuFieldContext& context_;
  std::vector<ActiveHead> heads_;         // those with a derivative
  std::vector<LayerGradient> gradients_;  // trunk layers, then hidden and last of these heads
  int64_t sums_size_ = 0, parts_ = 0;
  int64_t count_ = 0;                // rows handled
  const int32_t* active_ = nullptr;  // their indices; null = all
};

}  // namespace

void deformation_network_backward(const DeformationNetworkBackward& backward) {
  if (backward.forward.count > 0) NetworkBackward(backward).run();
}

}  // namespace eg4d::cpu
