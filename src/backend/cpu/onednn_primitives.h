#pragma once

// What oneDNN runs for a layer's weight and the shape that it meets. Brings dnnl.h with it: for onednn*.cpp
// alone.

#include <cstdint>
#include <vector>

#include "backend/cpu/onednn_handles.h"
#include "backend/neural_ops.h"
#include "core/least_recent_cache.h"

namespace eg4d::cpu::onednn {

using MemoryDescription = dnnl_memory_desc_t;
MemoryDescription describe(const std::vector<int64_t>& extents, dnnl_data_type_t type, dnnl_format_tag_t tag);

struct WeightShape {
  std::vector<int64_t> extents;  // linear: [in,out]; convolution: [out,in,kernel_height,kernel_width]
  bool bf16 = false, bias = false;

  bool linear() const { return extents.size() == 2; }
  int64_t in() const { return linear() ? extents[0] : extents[1]; }
  int64_t out() const { return linear() ? extents[1] : extents[0]; }
  int64_t kernel_height() const { return extents[2]; }
  int64_t kernel_width() const { return extents[3]; }
  dnnl_data_type_t type() const { return bf16 ? dnnl_bf16 : dnnl_f32; }
  MemoryDescription any() const { return describe(extents, type(), dnnl_format_tag_any); }
};

struct Extent {
  int64_t height, width;
};
Extent extent_of_result(const WeightShape& weight, const Convolution& a);

// oneDNN chooses the weight's layout.
struct Primitive {
  OwnedPrimitive primitive;
  MemoryDescription source, weight, bias, destination, scratch;
};

// Primitives are made when a shape is first met and kept. A reference is good until the next call but one.
class Primitives {
 public:
  explicit Primitives(dnnl_engine_t engine) : engine_(engine) {}

  const Primitive& linear(const WeightShape& weight, int64_t rows, Activation activation, bool accumulate);
  // d_x += d_y·Wᵀ, with W as a linear layer's weight is described: [in,out].
  const Primitive& linear_backward(const WeightShape& weight, int64_t rows);
  const Primitive& convolution(const WeightShape& weight, const Convolution& a, bool accumulate);
  // Source: the gradient of the result; destination: that of the input, which is overwritten.
  const Primitive& convolution_backward(const WeightShape& weight, const Convolution& a);

 private:
  using Key = std::vector<int64_t>;
  OwnedPlan plan(const_dnnl_op_desc_t operation, Activation activation, bool accumulate,
                 const_dnnl_primitive_desc_t forward) const;
  Primitive make_forward(const_dnnl_op_desc_t operation, Activation activation, bool accumulate) const;

  // The largest networks meet about 200 in one pass; other picture sizes add theirs.
  static constexpr size_t kMost = 1024;
  dnnl_engine_t engine_;
  LeastRecentCache<Key, Primitive> made_{kMost};
};

}  // namespace eg4d::cpu::onednn
