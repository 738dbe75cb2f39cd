#include "backend/cpu/onednn.h"

#include <dnnl.h>
#include <fmt/format.h>

#include <array>
#include <cstring>
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
    memory_.release(bias_);
  }
  OneDnnWeight(const OneDnnWeight&) = delete;
  OneDnnWeight& operator=(const OneDnnWeight&) = delete;

  size_t bytes() const override {
    return dnnl_memory_desc_get_size(&layout_) + (bias_ ? static_cast<size_t>(out()) * sizeof(float) : 0);
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
  float* bias_ = nullptr;
};

struct Primitive {
  dnnl_primitive_t primitive = nullptr;
  MemoryDescription source, weight, bias, destination, scratch;
};

}  // namespace

struct OneDnn::State {
  explicit State(Memory& m) : memory(m), scratch(m), converted(m) {
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
  const Primitive& convolution_primitive(const OneDnnWeight& weight, const Convolution& a, bool accumulate);
  Primitive finish(const_dnnl_op_desc_t operation, Activation activation, bool accumulate);
  void execute(const Primitive& primitive, OneDnnWeight& weight, const void* source, float* destination);
  const void* operand(const OneDnnWeight& weight, const float* x, int64_t count);

  Memory& memory;
  dnnl_engine_t engine = nullptr;
  dnnl_stream_t stream = nullptr;
  Scratch scratch, converted;
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

Primitive OneDnn::State::finish(const_dnnl_op_desc_t operation, Activation activation, bool accumulate) {
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
  if (accumulate) dnnl_post_ops_append_sum(post_operations, 1);
  dnnl_primitive_attr_set_post_ops(attributes, post_operations);

  dnnl_primitive_desc_t description = nullptr;
  const dnnl_status_t status =
      dnnl_primitive_desc_create(&description, operation, attributes, engine, nullptr);
  dnnl_post_ops_destroy(post_operations);
  dnnl_primitive_attr_destroy(attributes);
  check(status, "planning a layer");

  Primitive result;
  result.source = *dnnl_primitive_desc_query_md(description, dnnl_query_src_md, 0);
  result.weight = *dnnl_primitive_desc_query_md(description, dnnl_query_weights_md, 0);
  result.bias = *dnnl_primitive_desc_query_md(description, dnnl_query_weights_md, 1);
  result.destination = *dnnl_primitive_desc_query_md(description, dnnl_query_dst_md, 0);
  result.scratch = *dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0);
  const dnnl_status_t created = dnnl_primitive_create(&result.primitive, description);
  dnnl_primitive_desc_destroy(description);
  check(created, "creating a layer");
  return result;
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

const Primitive& OneDnn::State::convolution_primitive(const OneDnnWeight& weight, const Convolution& a,
                                                      bool accumulate) {
  const bool bias = weight.bias_ != nullptr;
  std::vector<int64_t> key{1,
                           weight.in(),
                           weight.out(),
                           weight.kernel_height(),
                           weight.kernel_width(),
                           a.batch,
                           a.height,
                           a.width,
                           a.stride,
                           a.pad_top,
                           a.pad_left,
                           a.pad_right,
                           a.pad_bottom,
                           weight.bf16_,
                           bias,
                           accumulate,
                           thread_count()};
  if (const auto found = primitives.find(key); found != primitives.end()) return found->second;

  const int64_t out_height =
      convolution_extent(a.height, weight.kernel_height(), a.pad_top, a.pad_bottom, a.stride);
  const int64_t out_width =
      convolution_extent(a.width, weight.kernel_width(), a.pad_left, a.pad_right, a.stride);
  const MemoryDescription any = weight.any();
  const MemoryDescription source =
      describe({a.batch, weight.in(), a.height, a.width}, weight.type(), dnnl_nhwc);
  const MemoryDescription bias_layout = describe({weight.out()}, dnnl_f32, dnnl_a);
  const MemoryDescription destination =
      describe({a.batch, weight.out(), out_height, out_width}, dnnl_f32, dnnl_nhwc);
  const dnnl_dims_t strides = {a.stride, a.stride}, before = {a.pad_top, a.pad_left},
                    after = {a.pad_bottom, a.pad_right};
  dnnl_convolution_desc_t operation;
  check(dnnl_convolution_forward_desc_init(&operation, dnnl_forward_inference, dnnl_convolution_direct,
                                           &source, &any, bias ? &bias_layout : nullptr, &destination,
                                           strides, before, after),
        "describing a convolution");
  return primitives.emplace(std::move(key), finish(&operation, Activation::none, accumulate)).first->second;
}

// ---------------------------------------------------------------- execution

void OneDnn::State::execute(const Primitive& primitive, OneDnnWeight& weight, const void* source,
                            float* destination) {
  if (!dnnl_memory_desc_equal(&primitive.weight, &weight.layout_)) {
    void* data = memory.allocate(dnnl_memory_desc_get_size(&primitive.weight));
    reorder(weight.layout_, weight.data_, primitive.weight, data);
    memory.release(weight.data_);
    weight.data_ = data;
    weight.layout_ = primitive.weight;
  }
  std::array<dnnl_exec_arg_t, 5> arguments;
  int count = 0;
  auto add = [&](int role, const MemoryDescription& description, const void* data) {
    arguments[static_cast<size_t>(count++)] = {role, wrap(description, data)};
  };
  add(DNNL_ARG_SRC, primitive.source, source);
  add(DNNL_ARG_WEIGHTS, weight.layout_, weight.data_);
  add(DNNL_ARG_DST, primitive.destination, destination);
  if (weight.bias_) add(DNNL_ARG_BIAS, primitive.bias, weight.bias_);
  if (const size_t bytes = dnnl_memory_desc_get_size(&primitive.scratch))
    add(DNNL_ARG_SCRATCHPAD, primitive.scratch, scratch.get(bytes));
  check(dnnl_primitive_execute(primitive.primitive, stream, count, arguments.data()), "a layer");
  check(dnnl_stream_wait(stream), "a layer");
  for (int i = 0; i < count; ++i) dnnl_memory_destroy(arguments[static_cast<size_t>(i)].memory);
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

void OneDnn::convolution(const Convolution& a) {
  auto& weight = const_cast<OneDnnWeight&>(static_cast<const OneDnnWeight&>(*a.weight));
  const int64_t out_height =
      convolution_extent(a.height, weight.kernel_height(), a.pad_top, a.pad_bottom, a.stride);
  const int64_t out_width =
      convolution_extent(a.width, weight.kernel_width(), a.pad_left, a.pad_right, a.stride);
  if (a.batch == 0 || out_height <= 0 || out_width <= 0) return;
  const int64_t in_image = a.height * a.width * weight.in(),
                out_image = out_height * out_width * weight.out();
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

}  // namespace eg4d::cpu
