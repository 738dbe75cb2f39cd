#include "backend/cpu/onednn.h"

#include <dnnl.h>
#include <fmt/format.h>

#include <cstring>
#include <initializer_list>
#include <map>
#include <vector>

#include "backend/cpu/neural_kernels.h"
#include "backend/cpu/scratch.h"
#include "core/error.h"
#include "core/threads.h"

namespace eg4d::cpu {
namespace {

void check(dnnl_status_t status, const char* what) {
  if (status == dnnl_out_of_memory) throw Error(fmt::format("out of memory in {}", what));
  if (status != dnnl_success) throw Error(fmt::format("oneDNN failed in {} (status {})", what, int{status}));
}

using MemoryDescription = dnnl_memory_desc_t;

MemoryDescription describe(const std::vector<int64_t>& extents, dnnl_data_type_t type,
                           dnnl_format_tag_t tag) {
  MemoryDescription description;
  check(
      dnnl_memory_desc_init_by_tag(&description, static_cast<int>(extents.size()), extents.data(), type, tag),
      "describing a tensor");
  return description;
}

// A weight as oneDNN wants it for the shape it last met; other shapes rarely want another layout.
class OneDnnWeight final : public PackedWeight {
 public:
  OneDnnWeight(Memory& memory, std::vector<int64_t> extents, bool bf16)
      : memory_(memory), extents_(std::move(extents)), bf16_(bf16) {}
  ~OneDnnWeight() override {
    memory_.release(data_);
    memory_.release(backward_data_);
    memory_.release(bias_);
  }
  OneDnnWeight(const OneDnnWeight&) = delete;
  OneDnnWeight& operator=(const OneDnnWeight&) = delete;

  size_t bytes() const override {
    return dnnl_memory_desc_get_size(&layout_) + (bias_ ? static_cast<size_t>(out()) * sizeof(float) : 0) +
           (backward_data_ ? dnnl_memory_desc_get_size(&backward_layout_) : 0);
  }
  bool linear() const { return extents_.size() == 2; }
  int64_t in() const { return linear() ? extents_[0] : extents_[1]; }
  int64_t out() const { return linear() ? extents_[1] : extents_[0]; }
  int64_t kernel_height() const { return extents_[2]; }
  int64_t kernel_width() const { return extents_[3]; }
  dnnl_data_type_t type() const { return bf16_ ? dnnl_bf16 : dnnl_f32; }
  MemoryDescription any() const { return describe(extents_, type(), dnnl_format_tag_any); }

  Memory& memory_;
  const std::vector<int64_t> extents_;  // linear: [in,out]; convolution: [out,in,kernel_height,kernel_width]
  const bool bf16_;
  MemoryDescription layout_{};
  void* data_ = nullptr;
  MemoryDescription backward_layout_{};  // a second copy, made when a gradient is first asked for
  void* backward_data_ = nullptr;
  float* bias_ = nullptr;
};

struct ConvolutionShape {
  MemoryDescription source, bias, destination;
  dnnl_dims_t strides, dilates, before, after;
};

struct Primitive {
  dnnl_primitive_t primitive = nullptr;
  MemoryDescription source, weight, bias, destination, scratch;
};

struct Argument {
  int role;
  const MemoryDescription* description;
  const void* data;  // null: left out
};

}  // namespace

struct OneDnn::State {
  explicit State(Memory& m) : memory(m), scratch(m), converted(m), masked(m), added(m) {
    check(dnnl_engine_create(&engine, dnnl_cpu, 0), "creating the CPU engine");
    check(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags), "creating a stream");
  }
  ~State() {
    for (auto& [key, entry] : primitives) dnnl_primitive_destroy(entry.primitive);
    dnnl_stream_destroy(stream);
    dnnl_engine_destroy(engine);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  dnnl_memory_t wrap(const MemoryDescription& description, const void* data) {
    dnnl_memory_t memory_object = nullptr;
    check(dnnl_memory_create(&memory_object, &description, engine, const_cast<void*>(data)),
          "wrapping memory");
    return memory_object;
  }

  void reorder(const MemoryDescription& from, const void* source, const MemoryDescription& to,
               void* destination);
  std::shared_ptr<OneDnnWeight> pack(std::vector<int64_t> extents, Precision precision,
                                     const MemoryDescription& stored, const float* weight, const float* bias,
                                     const MemoryDescription& preferred);
  const Primitive& linear_primitive(const OneDnnWeight& weight, int64_t rows, Activation activation,
                                    bool accumulate);
  const Primitive& linear_backward_primitive(const OneDnnWeight& weight, int64_t rows);
  const Primitive& convolution_primitive(const OneDnnWeight& weight, const Convolution& a, bool accumulate);
  const Primitive& convolution_backward_primitive(const OneDnnWeight& weight, const Convolution& a);
  dnnl_primitive_desc_t plan(const_dnnl_op_desc_t operation, Activation activation, bool accumulate,
                             const_dnnl_primitive_desc_t forward);
  Primitive finish(const_dnnl_op_desc_t operation, Activation activation, bool accumulate);
  void run(const Primitive& primitive, std::initializer_list<Argument> arguments);
  void execute(const Primitive& primitive, OneDnnWeight& weight, const void* source, float* destination);
  void prepare_backward(const Primitive& primitive, OneDnnWeight& weight);
  const void* operand(const OneDnnWeight& weight, const float* x, int64_t count);

  Memory& memory;
  dnnl_engine_t engine = nullptr;
  dnnl_stream_t stream = nullptr;
  Scratch scratch, converted, masked, added;
  std::map<std::vector<int64_t>, Primitive> primitives;
};

// ---------------------------------------------------------------- weights

void OneDnn::State::reorder(const MemoryDescription& from, const void* source, const MemoryDescription& to,
                            void* destination) {
  dnnl_primitive_desc_t description = nullptr;
  check(dnnl_reorder_primitive_desc_create(&description, &from, engine, &to, engine, nullptr),
        "planning a reorder");
  dnnl_primitive_t primitive = nullptr;
  check(dnnl_primitive_create(&primitive, description), "creating a reorder");
  const dnnl_memory_t a = wrap(from, source), b = wrap(to, destination);
  const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, a}, {DNNL_ARG_TO, b}};
  check(dnnl_primitive_execute(primitive, stream, 2, arguments), "a reorder");
  check(dnnl_stream_wait(stream), "a reorder");
  dnnl_memory_destroy(a);
  dnnl_memory_destroy(b);
  dnnl_primitive_destroy(primitive);
  dnnl_primitive_desc_destroy(description);
}

std::shared_ptr<OneDnnWeight> OneDnn::State::pack(std::vector<int64_t> extents, Precision precision,
                                                  const MemoryDescription& stored, const float* weight,
                                                  const float* bias, const MemoryDescription& preferred) {
  auto packed = std::make_shared<OneDnnWeight>(memory, std::move(extents), precision == Precision::bf16);
  packed->layout_ = preferred;
  packed->data_ = memory.allocate(dnnl_memory_desc_get_size(&preferred));
  reorder(stored, weight, preferred, packed->data_);
  if (bias) {
    const size_t bytes = static_cast<size_t>(packed->out()) * sizeof(float);
    packed->bias_ = static_cast<float*>(memory.allocate(bytes));
    std::memcpy(packed->bias_, bias, bytes);
  }
  return packed;
}

namespace {

void require_bf16(Precision precision) {
  if (precision == Precision::bf16 && dnnl_get_effective_cpu_isa() < dnnl_cpu_isa_avx512_core_bf16)
    throw Error("this CPU has no bfloat16 arithmetic; use --precision f32");
}

}  // namespace

OneDnn::OneDnn(Memory& memory) : state_(std::make_unique<State>(memory)) {}
OneDnn::~OneDnn() = default;

std::shared_ptr<const PackedWeight> OneDnn::pack_linear(const LinearWeight& a) {
  require_bf16(a.precision);
  const std::vector<int64_t> extents{a.in, a.out};
  OneDnnWeight probe(state_->memory, extents, a.precision == Precision::bf16);
  if (a.bias) probe.bias_ = static_cast<float*>(state_->memory.allocate(1));  // only its presence counts
  const Primitive& typical = state_->linear_primitive(probe, 1024, Activation::none, false);
  const MemoryDescription stored = describe(extents, dnnl_f32, dnnl_ba);
  return state_->pack(extents, a.precision, stored, a.weight, a.bias, typical.weight);
}

std::shared_ptr<const PackedWeight> OneDnn::pack_convolution(const ConvolutionWeight& a) {
  require_bf16(a.precision);
  const std::vector<int64_t> extents{a.out, a.in, a.kernel_height, a.kernel_width};
  OneDnnWeight probe(state_->memory, extents, a.precision == Precision::bf16);
  if (a.bias) probe.bias_ = static_cast<float*>(state_->memory.allocate(1));
  Convolution typical_use;
  typical_use.batch = 1;
  typical_use.height = typical_use.width = 32;
  typical_use.pad_top = typical_use.pad_bottom = a.kernel_height / 2;
  typical_use.pad_left = typical_use.pad_right = a.kernel_width / 2;
  const Primitive& typical = state_->convolution_primitive(probe, typical_use, false);
  return state_->pack(extents, a.precision, describe(extents, dnnl_f32, dnnl_oihw), a.weight, a.bias,
                      typical.weight);
}

// ---------------------------------------------------------------- primitives, by shape

dnnl_primitive_desc_t OneDnn::State::plan(const_dnnl_op_desc_t operation, Activation activation,
                                          bool accumulate, const_dnnl_primitive_desc_t forward) {
  dnnl_primitive_attr_t attributes = nullptr;
  check(dnnl_primitive_attr_create(&attributes), "creating attributes");
  dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user);
  dnnl_post_ops_t post_operations = nullptr;
  check(dnnl_post_ops_create(&post_operations), "creating post-operations");
  if (activation == Activation::silu)
    dnnl_post_ops_append_eltwise(post_operations, 1, dnnl_eltwise_swish, 1, 0);
  if (activation == Activation::gelu)
    dnnl_post_ops_append_eltwise(post_operations, 1, dnnl_eltwise_gelu_erf, 0, 0);
  if (activation == Activation::quick_gelu)
    dnnl_post_ops_append_eltwise(post_operations, 1, dnnl_eltwise_swish, 1.702f, 0);
  if (activation == Activation::relu)
    dnnl_post_ops_append_eltwise(post_operations, 1, dnnl_eltwise_relu, 0, 0);
  if (accumulate) dnnl_post_ops_append_sum(post_operations, 1);
  dnnl_primitive_attr_set_post_ops(attributes, post_operations);

  dnnl_primitive_desc_t description = nullptr;
  const dnnl_status_t status =
      dnnl_primitive_desc_create(&description, operation, attributes, engine, forward);
  dnnl_post_ops_destroy(post_operations);
  dnnl_primitive_attr_destroy(attributes);
  check(status, "planning a layer");
  return description;
}

namespace {

// Takes the plan over.
Primitive make_primitive(dnnl_primitive_desc_t description, dnnl_query_t source, dnnl_query_t destination) {
  Primitive result;
  result.source = *dnnl_primitive_desc_query_md(description, source, 0);
  result.weight = *dnnl_primitive_desc_query_md(description, dnnl_query_weights_md, 0);
  result.bias = *dnnl_primitive_desc_query_md(description, dnnl_query_weights_md, 1);
  result.destination = *dnnl_primitive_desc_query_md(description, destination, 0);
  result.scratch = *dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0);
  const dnnl_status_t created = dnnl_primitive_create(&result.primitive, description);
  dnnl_primitive_desc_destroy(description);
  check(created, "creating a layer");
  return result;
}

}  // namespace

Primitive OneDnn::State::finish(const_dnnl_op_desc_t operation, Activation activation, bool accumulate) {
  return make_primitive(plan(operation, activation, accumulate, nullptr), dnnl_query_src_md,
                        dnnl_query_dst_md);
}

const Primitive& OneDnn::State::linear_primitive(const OneDnnWeight& weight, int64_t rows,
                                                 Activation activation, bool accumulate) {
  const bool bias = weight.bias_ != nullptr;
  std::vector<int64_t> key{
      0,    weight.in(), weight.out(),  weight.bf16_, rows, static_cast<int64_t>(activation),
      bias, accumulate,  thread_count()};
  if (const auto found = primitives.find(key); found != primitives.end()) return found->second;

  const MemoryDescription source = describe({rows, weight.in()}, weight.type(), dnnl_ab), any = weight.any();
  const MemoryDescription bias_layout = describe({1, weight.out()}, dnnl_f32, dnnl_ab);
  const MemoryDescription destination = describe({rows, weight.out()}, dnnl_f32, dnnl_ab);
  dnnl_matmul_desc_t operation;
  check(dnnl_matmul_desc_init(&operation, &source, &any, bias ? &bias_layout : nullptr, &destination),
        "describing a linear layer");
  return primitives.emplace(std::move(key), finish(&operation, activation, accumulate)).first->second;
}

// d_x += d_y·Wᵀ, with W as a linear layer's weight is described: [in,out].
const Primitive& OneDnn::State::linear_backward_primitive(const OneDnnWeight& weight, int64_t rows) {
  std::vector<int64_t> key{3, weight.in(), weight.out(), rows, thread_count()};
  if (const auto found = primitives.find(key); found != primitives.end()) return found->second;
  const MemoryDescription source = describe({rows, weight.out()}, dnnl_f32, dnnl_ab),
                          any = describe({weight.out(), weight.in()}, dnnl_f32, dnnl_format_tag_any),
                          destination = describe({rows, weight.in()}, dnnl_f32, dnnl_ab);
  dnnl_matmul_desc_t operation;
  check(dnnl_matmul_desc_init(&operation, &source, &any, nullptr, &destination),
        "describing a linear layer's gradient");
  return primitives.emplace(std::move(key), finish(&operation, Activation::none, true)).first->second;
}

namespace {

struct Extent {
  int64_t height, width;
};
Extent extent_of_result(const OneDnnWeight& weight, const Convolution& a) {
  return {convolution_extent(a.height, weight.kernel_height(), a.pad_top, a.pad_bottom, a.stride, a.dilation),
          convolution_extent(a.width, weight.kernel_width(), a.pad_left, a.pad_right, a.stride, a.dilation)};
}

std::vector<int64_t> key_of(int64_t kind, const OneDnnWeight& weight, const Convolution& a) {
  return {kind,
          weight.in(),
          weight.out(),
          weight.kernel_height(),
          weight.kernel_width(),
          weight.bf16_,
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

ConvolutionShape shape_of(const OneDnnWeight& weight, const Convolution& a) {
  const Extent out = extent_of_result(weight, a);
  return {describe({a.batch, weight.in(), a.height, a.width}, weight.type(), dnnl_nhwc),
          describe({weight.out()}, dnnl_f32, dnnl_a),
          describe({a.batch, weight.out(), out.height, out.width}, dnnl_f32, dnnl_nhwc),
          {a.stride, a.stride},
          {a.dilation - 1, a.dilation - 1},
          {a.pad_top, a.pad_left},
          {a.pad_bottom, a.pad_right}};
}

dnnl_convolution_desc_t describe_forward(const OneDnnWeight& weight, const ConvolutionShape& shape,
                                         dnnl_prop_kind_t kind) {
  const MemoryDescription any = weight.any();
  dnnl_convolution_desc_t operation;
  check(dnnl_dilated_convolution_forward_desc_init(
            &operation, kind, dnnl_convolution_direct, &shape.source, &any,
            weight.bias_ && kind == dnnl_forward_inference ? &shape.bias : nullptr, &shape.destination,
            shape.strides, shape.dilates, shape.before, shape.after),
        "describing a convolution");
  return operation;
}

}  // namespace

const Primitive& OneDnn::State::convolution_primitive(const OneDnnWeight& weight, const Convolution& a,
                                                      bool accumulate) {
  std::vector<int64_t> key = key_of(1, weight, a);
  for (const int64_t more : {int64_t{weight.bias_ != nullptr}, static_cast<int64_t>(a.activation),
                             static_cast<int64_t>(accumulate)})
    key.push_back(more);
  if (const auto found = primitives.find(key); found != primitives.end()) return found->second;
  const dnnl_convolution_desc_t operation =
      describe_forward(weight, shape_of(weight, a), dnnl_forward_inference);
  return primitives.emplace(std::move(key), finish(&operation, a.activation, accumulate)).first->second;
}

// Source: the gradient of the result; destination: that of the input.
const Primitive& OneDnn::State::convolution_backward_primitive(const OneDnnWeight& weight,
                                                               const Convolution& a) {
  std::vector<int64_t> key = key_of(2, weight, a);
  if (const auto found = primitives.find(key); found != primitives.end()) return found->second;
  const ConvolutionShape shape = shape_of(weight, a);
  const dnnl_convolution_desc_t forward = describe_forward(weight, shape, dnnl_forward_training);
  const dnnl_primitive_desc_t forward_plan = plan(&forward, Activation::none, false, nullptr);
  const MemoryDescription any = weight.any();
  dnnl_convolution_desc_t operation;
  check(dnnl_dilated_convolution_backward_data_desc_init(&operation, dnnl_convolution_direct, &shape.source,
                                                         &any, &shape.destination, shape.strides,
                                                         shape.dilates, shape.before, shape.after),
        "describing a convolution's gradient");
  const dnnl_primitive_desc_t planned = plan(&operation, Activation::none, false, forward_plan);
  dnnl_primitive_desc_destroy(forward_plan);
  return primitives
      .emplace(std::move(key), make_primitive(planned, dnnl_query_diff_dst_md, dnnl_query_diff_src_md))
      .first->second;
}

// ---------------------------------------------------------------- execution

void OneDnn::State::run(const Primitive& primitive, std::initializer_list<Argument> arguments) {
  std::vector<dnnl_exec_arg_t> wrapped;
  for (const Argument& argument : arguments)
    if (argument.data) wrapped.push_back({argument.role, wrap(*argument.description, argument.data)});
  if (const size_t bytes = dnnl_memory_desc_get_size(&primitive.scratch))
    wrapped.push_back({DNNL_ARG_SCRATCHPAD, wrap(primitive.scratch, scratch.get(bytes))});
  check(dnnl_primitive_execute(primitive.primitive, stream, static_cast<int>(wrapped.size()), wrapped.data()),
        "a layer");
  check(dnnl_stream_wait(stream), "a layer");
  for (const dnnl_exec_arg_t& argument : wrapped) dnnl_memory_destroy(argument.memory);
}

void OneDnn::State::execute(const Primitive& primitive, OneDnnWeight& weight, const void* source,
                            float* destination) {
  if (!dnnl_memory_desc_equal(&primitive.weight, &weight.layout_)) {
    void* data = memory.allocate(dnnl_memory_desc_get_size(&primitive.weight));
    reorder(weight.layout_, weight.data_, primitive.weight, data);
    memory.release(weight.data_);
    weight.data_ = data;
    weight.layout_ = primitive.weight;
  }
  run(primitive, {{DNNL_ARG_SRC, &primitive.source, source},
                  {DNNL_ARG_WEIGHTS, &weight.layout_, weight.data_},
                  {DNNL_ARG_DST, &primitive.destination, destination},
                  {DNNL_ARG_BIAS, &primitive.bias, weight.bias_}});
}

// Makes the copy of the weight that gradients are computed with.
void OneDnn::State::prepare_backward(const Primitive& primitive, OneDnnWeight& weight) {
  if (weight.backward_data_ && dnnl_memory_desc_equal(&primitive.weight, &weight.backward_layout_)) return;
  memory.release(weight.backward_data_);
  weight.backward_data_ = nullptr;
  weight.backward_data_ = memory.allocate(dnnl_memory_desc_get_size(&primitive.weight));
  weight.backward_layout_ = primitive.weight;
  if (!weight.linear()) {
    reorder(weight.layout_, weight.data_, weight.backward_layout_, weight.backward_data_);
    return;
  }
  // The columns of [in,out], one behind the other, are the rows of its transpose.
  const MemoryDescription columns = describe(weight.extents_, dnnl_f32, dnnl_ba);
  void* plain = added.get(dnnl_memory_desc_get_size(&columns));
  reorder(weight.layout_, weight.data_, columns, plain);
  reorder(describe({weight.out(), weight.in()}, dnnl_f32, dnnl_ab), plain, weight.backward_layout_,
          weight.backward_data_);
}

// x itself, or rounded to what the weight wants it to be multiplied with.
const void* OneDnn::State::operand(const OneDnnWeight& weight, const float* x, int64_t count) {
  if (!weight.bf16_) return x;
  auto* rounded = static_cast<uint16_t*>(converted.get(static_cast<size_t>(count) * sizeof(uint16_t)));
  to_bfloat16(x, rounded, count);
  return rounded;
}

namespace {

constexpr int64_t kRoundedElements = int64_t{1} << 24;  // bf16 operands are made in pieces of about this size

// The sum post-operation adds to what lies at y.
void prepare_residual(const float* residual, float* y, int64_t count) {
  if (residual && residual != y) copy_rows({.rows = 1, .width = count, .from = residual, .to = y});
}

}  // namespace

void OneDnn::linear(const Linear& a) {
  // Weights are shared and const to their users; only their layout changes here.
  auto& weight = const_cast<OneDnnWeight&>(static_cast<const OneDnnWeight&>(*a.weight));
  if (a.rows == 0) return;
  prepare_residual(a.residual, a.y, a.rows * weight.out());
  const int64_t piece = weight.bf16_ ? std::max<int64_t>(kRoundedElements / weight.in(), 1) : a.rows;
  for (int64_t begin = 0; begin < a.rows; begin += piece) {
    const int64_t rows = std::min(piece, a.rows - begin);
    const Primitive& primitive = state_->linear_primitive(weight, rows, a.activation, a.residual != nullptr);
    state_->execute(primitive, weight, state_->operand(weight, a.x + begin * weight.in(), rows * weight.in()),
                    a.y + begin * weight.out());
  }
}

void OneDnn::linear_backward(const LinearBackward& a) {
  auto& weight = const_cast<OneDnnWeight&>(static_cast<const OneDnnWeight&>(*a.forward.weight));
  if (a.forward.rows == 0) return;
  const Primitive& primitive = state_->linear_backward_primitive(weight, a.forward.rows);
  state_->prepare_backward(primitive, weight);
  state_->run(primitive, {{DNNL_ARG_SRC, &primitive.source, a.d_y},
                          {DNNL_ARG_WEIGHTS, &weight.backward_layout_, weight.backward_data_},
                          {DNNL_ARG_DST, &primitive.destination, a.d_x}});
}

void OneDnn::convolution(const Convolution& a) {
  auto& weight = const_cast<OneDnnWeight&>(static_cast<const OneDnnWeight&>(*a.weight));
  const Extent out = extent_of_result(weight, a);
  if (a.batch == 0 || out.height <= 0 || out.width <= 0) return;
  const int64_t in_image = a.height * a.width * weight.in(),
                out_image = out.height * out.width * weight.out();
  prepare_residual(a.residual, a.y, a.batch * out_image);
  Convolution piece = a;
  if (weight.bf16_) piece.batch = std::clamp<int64_t>(kRoundedElements / in_image, 1, a.batch);
  for (int64_t begin = 0, step = piece.batch; begin < a.batch; begin += step) {
    piece.batch = std::min(step, a.batch - begin);
    const Primitive& primitive = state_->convolution_primitive(weight, piece, a.residual != nullptr);
    state_->execute(primitive, weight,
                    state_->operand(weight, a.x + begin * in_image, piece.batch * in_image),
                    a.y + begin * out_image);
  }
}

void OneDnn::convolution_backward(const ConvolutionBackward& a) {
  auto& weight = const_cast<OneDnnWeight&>(static_cast<const OneDnnWeight&>(*a.forward.weight));
  const Convolution& forward = a.forward;
  const Extent out = extent_of_result(weight, forward);
  const int64_t in_count = forward.batch * forward.height * forward.width * weight.in(),
                out_count = forward.batch * out.height * out.width * weight.out();
  if (in_count == 0 || out_count <= 0) return;
  const float* d_y = a.d_y;
  if (forward.activation == Activation::relu) {
    auto* masked = static_cast<float*>(state_->masked.get(static_cast<size_t>(out_count) * sizeof(float)));
    relu_backward(forward.y, a.d_y, masked, out_count);
    d_y = masked;
  }
  // oneDNN's gradient cannot be added to what is there.
  auto* d_x = static_cast<float*>(state_->added.get(static_cast<size_t>(in_count) * sizeof(float)));
  const Primitive& primitive = state_->convolution_backward_primitive(weight, forward);
  state_->prepare_backward(primitive, weight);
  state_->run(primitive, {{DNNL_ARG_DIFF_DST, &primitive.source, d_y},
                          {DNNL_ARG_WEIGHTS, &weight.backward_layout_, weight.backward_data_},
                          {DNNL_ARG_DIFF_SRC, &primitive.destination, d_x}});
  scaled_sum({.count = in_count, .a = a.d_x, .b = d_x, .b_scale = 1, .y = a.d_x});
}

}  // namespace eg4d::cpu
