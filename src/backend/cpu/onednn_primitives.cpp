#include "backend/cpu/onednn_primitives.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/threads.h"

namespace eg4d::cpu::onednn {

void check(dnnl_status_t status, const char* what) {
  if (status == dnnl_out_of_memory) throw Error(fmt::format("out of memory in {}", what));
  if (status != dnnl_success) throw Error(fmt::format("oneDNN failed in {} (status {})", what, int{status}));
}

MemoryDescription describe(const std::vector<int64_t>& extents, dnnl_data_type_t type,
                           dnnl_format_tag_t tag) {
  MemoryDescription description;
  check(
      dnnl_memory_desc_init_by_tag(&description, static_cast<int>(extents.size()), extents.data(), type, tag),
      "describing a tensor");
  return description;
}

Extent extent_of_result(const WeightShape& weight, const Convolution& a) {
  return {convolution_extent(a.height, weight.kernel_height(), a.pad_top, a.pad_bottom, a.stride, a.dilation),
          convolution_extent(a.width, weight.kernel_width(), a.pad_left, a.pad_right, a.stride, a.dilation)};
}

// ---------------------------------------------------------------- making

OwnedPlan Primitives::plan(const_dnnl_op_desc_t operation, Activation activation, bool accumulate,
                           const_dnnl_primitive_desc_t forward) const {
  const auto attributes = make<OwnedAttributes>("creating attributes", dnnl_primitive_attr_create);
  dnnl_primitive_attr_set_scratchpad_mode(attributes.get(), dnnl_scratchpad_mode_user);
  const auto post_operations = make<OwnedPostOperations>("creating post-operations", dnnl_post_ops_create);
  dnnl_post_ops_t post = post_operations.get();
  if (activation == Activation::silu) dnnl_post_ops_append_eltwise(post, 1, dnnl_eltwise_swish, 1, 0);
  if (activation == Activation::gelu) dnnl_post_ops_append_eltwise(post, 1, dnnl_eltwise_gelu_erf, 0, 0);
  if (activation == Activation::quick_gelu)
    dnnl_post_ops_append_eltwise(post, 1, dnnl_eltwise_swish, 1.702f, 0);
  if (activation == Activation::relu) dnnl_post_ops_append_eltwise(post, 1, dnnl_eltwise_relu, 0, 0);
  if (accumulate) dnnl_post_ops_append_sum(post, 1);
  dnnl_primitive_attr_set_post_ops(attributes.get(), post);
  return make<OwnedPlan>("planning a layer", dnnl_primitive_desc_create, operation, attributes.get(), engine_,
                         forward);
}

namespace {

Primitive make_primitive(const OwnedPlan& plan, dnnl_query_t source, dnnl_query_t destination) {
  const auto description = [&](dnnl_query_t what, int index) {
    return *dnnl_primitive_desc_query_md(plan.get(), what, index);
  };
  return {make<OwnedPrimitive>("creating a layer", dnnl_primitive_create, plan.get()),
          description(source, 0),
          description(dnnl_query_weights_md, 0),
          description(dnnl_query_weights_md, 1),
          description(destination, 0),
          description(dnnl_query_scratchpad_md, 0)};
}

}  // namespace

Primitive Primitives::make_forward(const_dnnl_op_desc_t operation, Activation activation,
                                   bool accumulate) const {
  return make_primitive(plan(operation, activation, accumulate, nullptr), dnnl_query_src_md,
                        dnnl_query_dst_md);
}

// ---------------------------------------------------------------- linear

const Primitive& Primitives::linear(const WeightShape& weight, int64_t rows, Activation activation,
                                    bool accumulate) {
  Key key{0,           weight.in(), weight.out(),  weight.bf16, rows, static_cast<int64_t>(activation),
          weight.bias, accumulate,  thread_count()};
  if (const Primitive* found = made_.find(key)) return *found;

  const MemoryDescription source = describe({rows, weight.in()}, weight.type(), dnnl_ab), any = weight.any();
  const MemoryDescription bias_layout = describe({1, weight.out()}, dnnl_f32, dnnl_ab);
  const MemoryDescription destination = describe({rows, weight.out()}, dnnl_f32, dnnl_ab);
  dnnl_matmul_desc_t operation;
  check(dnnl_matmul_desc_init(&operation, &source, &any, weight.bias ? &bias_layout : nullptr, &destination),
        "describing a linear layer");
  return made_.insert(std::move(key), make_forward(&operation, activation, accumulate));
}

const Primitive& Primitives::linear_backward(const WeightShape& weight, int64_t rows) {
  Key key{3, weight.in(), weight.out(), rows, thread_count()};
  if (const Primitive* found = made_.find(key)) return *found;
  const MemoryDescription source = describe({rows, weight.out()}, dnnl_f32, dnnl_ab),
                          any = describe({weight.out(), weight.in()}, dnnl_f32, dnnl_format_tag_any),
                          destination = describe({rows, weight.in()}, dnnl_f32, dnnl_ab);
  dnnl_matmul_desc_t operation;
  check(dnnl_matmul_desc_init(&operation, &source, &any, nullptr, &destination),
        "describing a linear layer's gradient");
  return made_.insert(std::move(key), make_forward(&operation, Activation::none, true));
}

// ---------------------------------------------------------------- convolution

namespace {

struct ConvolutionShape {
  MemoryDescription source, bias, destination;
  dnnl_dims_t strides, dilates, before, after;
};

std::vector<int64_t> key_of(int64_t kind, const WeightShape& weight, const Convolution& a) {
  return {kind,
          weight.in(),
          weight.out(),
          weight.kernel_height(),
          weight.kernel_width(),
          weight.bf16,
          a.batch,
          a.height,
          a.width,
          a.stride,
          a.dilation,
          a.pad_top,
          a.pad_left,
          a.pad_right,
          a.pad_bottom,
          thread_count()};
}

ConvolutionShape shape_of(const WeightShape& weight, const Convolution& a) {
  const Extent out = extent_of_result(weight, a);
  return {describe({a.batch, weight.in(), a.height, a.width}, weight.type(), dnnl_nhwc),
          describe({weight.out()}, dnnl_f32, dnnl_a),
          describe({a.batch, weight.out(), out.height, out.width}, dnnl_f32, dnnl_nhwc),
          {a.stride, a.stride},
          {a.dilation - 1, a.dilation - 1},
          {a.pad_top, a.pad_left},
          {a.pad_bottom, a.pad_right}};
}

dnnl_convolution_desc_t describe_forward(const WeightShape& weight, const ConvolutionShape& shape,
                                         dnnl_prop_kind_t kind) {
  const MemoryDescription any = weight.any();
  dnnl_convolution_desc_t operation;
  check(dnnl_dilated_convolution_forward_desc_init(
            &operation, kind, dnnl_convolution_direct, &shape.source, &any,
            weight.bias && kind == dnnl_forward_inference ? &shape.bias : nullptr, &shape.destination,
            shape.strides, shape.dilates, shape.before, shape.after),
        "describing a convolution");
  return operation;
}

}  // namespace

const Primitive& Primitives::convolution(const WeightShape& weight, const Convolution& a, bool accumulate) {
  Key key = key_of(1, weight, a);
  for (const int64_t more :
       {int64_t{weight.bias}, static_cast<int64_t>(a.activation), static_cast<int64_t>(accumulate)})
    key.push_back(more);
  if (const Primitive* found = made_.find(key)) return *found;
  const dnnl_convolution_desc_t operation =
      describe_forward(weight, shape_of(weight, a), dnnl_forward_inference);
  return made_.insert(std::move(key), make_forward(&operation, a.activation, accumulate));
}

const Primitive& Primitives::convolution_backward(const WeightShape& weight, const Convolution& a) {
  Key key = key_of(2, weight, a);
  if (const Primitive* found = made_.find(key)) return *found;
  const ConvolutionShape shape = shape_of(weight, a);
  const dnnl_convolution_desc_t forward = describe_forward(weight, shape, dnnl_forward_training);
  const OwnedPlan forward_plan = plan(&forward, Activation::none, false, nullptr);
  const MemoryDescription any = weight.any();
  dnnl_convolution_desc_t operation;
  check(dnnl_dilated_convolution_backward_data_desc_init(&operation, dnnl_convolution_direct, &shape.source,
                                                         &any, &shape.destination, shape.strides,
                                                         shape.dilates, shape.before, shape.after),
        "describing a convolution's gradient");
  const OwnedPlan planned = plan(&operation, Activation::none, false, forward_plan.get());
  return made_.insert(std::move(key),
                      make_primitive(planned, dnnl_query_diff_dst_md, dnnl_query_diff_src_md));
}

}  // namespace eg4d::cpu::onednn
