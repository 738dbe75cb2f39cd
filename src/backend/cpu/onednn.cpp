#include "backend/cpu/onednn.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <mutex>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/neural_kernels.h"
#include "backend/cpu/onednn_weight.h"
#include "backend/cpu/scratch.h"
#include "core/error.h"
#include "core/half.h"

namespace eg4d::cpu {

using namespace onednn;

namespace {

constexpr size_t kSecondCopies = size_t{256} << 20;  // bytes, of all weights together

struct Argument {
  int role;
  const MemoryDescription* description;
  const void* data;  // null: left out
};

}  // namespace

struct OneDnn::State {
  State(Memory& m, bool emulate)
      : emulate_half(emulate),
        memory(m),
        scratch(m),
        converted(m),
        masked(m),
        added(m),
        second_copies{m, kSecondCopies} {}

  OwnedMemory wrap(const MemoryDescription& description, const void* data) const {
    return make<OwnedMemory>("wrapping memory", dnnl_memory_create, &description, engine.get(),
                             const_cast<void*>(data));
  }

  void reorder(const MemoryDescription& from, const void* source, const MemoryDescription& to,
               void* destination) const;
  std::shared_ptr<Weight> pack(const WeightShape& shape, const MemoryDescription& stored,
                               const StoredWeight& weight, const StoredWeight& bias,
                               const MemoryDescription& preferred, DType rounded);
  bool multiplies_bf16(const NetworkType& type) const;
  void run(const Primitive& primitive, std::initializer_list<Argument> arguments);
  void execute(const Primitive& primitive, const Weight& weight, const void* source, float* destination);
  const WeightCopies::Copy& backward_copy(const Primitive& primitive, const Weight& weight);
  const void* operand(const Weight& weight, const float* x, int64_t count);

  const bool emulate_half;
  std::mutex mutex;  // one call at a time: primitives, scratch memory and the weights' layouts are shared
  Memory& memory;
  const OwnedEngine engine =
      make<OwnedEngine>("creating the CPU engine", dnnl_engine_create, dnnl_cpu, size_t{0});
  const OwnedStream stream = make<OwnedStream>("creating a stream", dnnl_stream_create, engine.get(),
                                               unsigned{dnnl_stream_default_flags});
  Primitives primitives{engine.get()};
  Scratch scratch, converted, masked, added;
  CopyBudget second_copies;
};

// ---------------------------------------------------------------- weights

void OneDnn::State::reorder(const MemoryDescription& from, const void* source, const MemoryDescription& to,
                            void* destination) const {
  const auto plan = make<OwnedPlan>("planning a reorder", dnnl_reorder_primitive_desc_create, &from,
                                    engine.get(), &to, engine.get(), nullptr);
  const auto primitive = make<OwnedPrimitive>("creating a reorder", dnnl_primitive_create, plan.get());
  const OwnedMemory a = wrap(from, source), b = wrap(to, destination);
  const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, a.get()}, {DNNL_ARG_TO, b.get()}};
  check(dnnl_primitive_execute(primitive.get(), stream.get(), 2, arguments), "a reorder");
  check(dnnl_stream_wait(stream.get()), "a reorder");
}

namespace {

void round_to(DType type, std::vector<float>& values) {
  if (type == DType::f16)
    for (float& value : values) value = half_to_float(float_to_half(value));
  if (type == DType::bf16)
    for (float& value : values) value = bfloat16_to_float(float_to_bfloat16(value));
}

}  // namespace

// `rounded`: every element to this type first, though it is kept as the shape says.
std::shared_ptr<Weight> OneDnn::State::pack(const WeightShape& shape, const MemoryDescription& stored,
                                            const StoredWeight& weight, const StoredWeight& bias,
                                            const MemoryDescription& preferred, DType rounded) {
  auto packed = std::make_shared<Weight>(shape, second_copies);
  std::vector<float> converted_weight;
  const float* floats = weight.as_floats();
  if (!floats || rounded != DType::f32) {
    converted_weight.resize(static_cast<size_t>(weight.count()));
    weight.copy_as_floats(converted_weight.data());
    round_to(rounded, converted_weight);
    floats = converted_weight.data();
  }
  packed->forward_.in(
      preferred, [&](const MemoryDescription& layout, void* to) { reorder(stored, floats, layout, to); });
  if (bias) {
    packed->bias_ = static_cast<float*>(memory.allocate(static_cast<size_t>(shape.out()) * sizeof(float)));
    bias.copy_as_floats(packed->bias_);
  }
  return packed;
}

// Are products those of the processor's own bfloat16 instructions?
bool OneDnn::State::multiplies_bf16(const NetworkType& type) const {
  if (type.weights == DType::f32 || emulate_half) return false;
  if (type.weights != DType::bf16)
    throw Error("the processor multiplies in f32 or bf16; --precision f16 is for GPUs: use f32 or bf16");
  if (dnnl_get_effective_cpu_isa() < dnnl_cpu_isa_avx512_core_bf16)
    throw Error("this CPU has no bfloat16 arithmetic; use --precision f32");
  return true;
}

OneDnn::OneDnn(Memory& memory, bool emulate_half) : state_(std::make_unique<State>(memory, emulate_half)) {}
OneDnn::~OneDnn() = default;

std::shared_ptr<const PackedWeight> OneDnn::pack_linear(const LinearWeight& a) {
  if (a.type.products == NetworkType::Products::fp8)
    throw NotOnThisDevice("the processor has no products of 8 bits");
  const bool bf16 = state_->multiplies_bf16(a.type);
  const std::lock_guard lock(state_->mutex);
  const WeightShape shape{{a.in, a.out}, bf16, static_cast<bool>(a.bias)};
  const Primitive& typical = state_->primitives.linear(shape, 1024, Activation::none, false);
  return state_->pack(shape, describe(shape.extents, dnnl_f32, dnnl_ba), a.weight, a.bias, typical.weight,
                      bf16 ? DType::f32 : a.type.weights);
}

std::shared_ptr<const PackedWeight> OneDnn::pack_convolution(const ConvolutionWeight& a) {
  const bool bf16 = state_->multiplies_bf16(a.type);
  const std::lock_guard lock(state_->mutex);
  const WeightShape shape{{a.out, a.in, a.kernel_height, a.kernel_width}, bf16, static_cast<bool>(a.bias)};
  Convolution typical_use;
  typical_use.batch = 1;
  typical_use.height = typical_use.width = 32;
  typical_use.pad_top = typical_use.pad_bottom = a.kernel_height / 2;
  typical_use.pad_left = typical_use.pad_right = a.kernel_width / 2;
  const Primitive& typical = state_->primitives.convolution(shape, typical_use, false);
  return state_->pack(shape, describe(shape.extents, dnnl_f32, dnnl_oihw), a.weight, a.bias, typical.weight,
                      bf16 ? DType::f32 : a.type.weights);
}

// ---------------------------------------------------------------- execution

void OneDnn::State::run(const Primitive& primitive, std::initializer_list<Argument> arguments) {
  std::vector<OwnedMemory> owned;
  std::vector<dnnl_exec_arg_t> wrapped;
  const auto add = [&](int role, const MemoryDescription& description, const void* data) {
    owned.push_back(wrap(description, data));
    wrapped.push_back({role, owned.back().get()});
  };
  for (const Argument& argument : arguments)
    if (argument.data) add(argument.role, *argument.description, argument.data);
  if (const size_t bytes = dnnl_memory_desc_get_size(&primitive.scratch))
    add(DNNL_ARG_SCRATCHPAD, primitive.scratch, scratch.get(bytes));
  check(dnnl_primitive_execute(primitive.primitive.get(), stream.get(), static_cast<int>(wrapped.size()),
                               wrapped.data()),
        "a layer");
  check(dnnl_stream_wait(stream.get()), "a layer");
}

void OneDnn::State::execute(const Primitive& primitive, const Weight& weight, const void* source,
                            float* destination) {
  const auto& copy = weight.forward_.in(primitive.weight, [&](const MemoryDescription& layout, void* to) {
    reorder(weight.forward_.latest().layout, weight.forward_.latest().data, layout, to);
  });
  run(primitive, {{DNNL_ARG_SRC, &primitive.source, source},
                  {DNNL_ARG_WEIGHTS, &copy.layout, copy.data},
                  {DNNL_ARG_DST, &primitive.destination, destination},
                  {DNNL_ARG_BIAS, &primitive.bias, weight.bias_}});
}

// The copy of the weight that gradients are computed with.
const WeightCopies::Copy& OneDnn::State::backward_copy(const Primitive& primitive, const Weight& weight) {
  return weight.backward_.in(primitive.weight, [&](const MemoryDescription& layout, void* to) {
    const auto& [forward_layout, forward] = weight.forward_.latest();
    if (!weight.shape_.linear()) return reorder(forward_layout, forward, layout, to);
    // The columns of [in,out], one behind the other, are the rows of its transpose.
    const MemoryDescription columns = describe(weight.shape_.extents, dnnl_f32, dnnl_ba);
    void* plain = added.get(dnnl_memory_desc_get_size(&columns));
    reorder(forward_layout, forward, columns, plain);
    reorder(describe({weight.shape_.out(), weight.shape_.in()}, dnnl_f32, dnnl_ab), plain, layout, to);
  });
}

// x itself, or rounded to what the weight wants it to be multiplied with.
const void* OneDnn::State::operand(const Weight& weight, const float* x, int64_t count) {
  if (!weight.shape_.bf16) return x;
  auto* rounded = static_cast<uint16_t*>(converted.get(static_cast<size_t>(count) * sizeof(uint16_t)));
  to_bfloat16(x, rounded, count);
  return rounded;
}

namespace {

constexpr int64_t kRoundedElements = int64_t{1} << 24;  // bf16 operands are made in pieces of about this size

const Weight& weight_of(const PackedWeight* packed) {
  return static_cast<const Weight&>(*packed);
}

// The sum post-operation adds to what lies at y.
void prepare_residual(const float* residual, float* y, int64_t count) {
  if (residual && residual != y) copy_rows({.rows = 1, .width = count, .from = residual, .to = y});
}

}  // namespace

void OneDnn::linear(const Linear& a) {
  const std::lock_guard lock(state_->mutex);
  const Weight& weight = weight_of(a.weight);
  const int64_t in = weight.shape_.in(), out = weight.shape_.out();
  if (a.rows == 0) return;
  prepare_residual(a.residual.f32(), a.y.f32(), a.rows * out);
  const int64_t piece = weight.shape_.bf16 ? std::max<int64_t>(kRoundedElements / in, 1) : a.rows;
  for (int64_t begin = 0; begin < a.rows; begin += piece) {
    const int64_t rows = std::min(piece, a.rows - begin);
    const Primitive& primitive =
        state_->primitives.linear(weight.shape_, rows, a.activation, static_cast<bool>(a.residual));
    state_->execute(primitive, weight, state_->operand(weight, a.x.f32() + begin * in, rows * in),
                    a.y.f32() + begin * out);
  }
}

void OneDnn::linear_backward(const LinearBackward& a) {
  const std::lock_guard lock(state_->mutex);
  const Weight& weight = weight_of(a.forward.weight);
  if (a.forward.rows == 0) return;
  const Primitive& primitive = state_->primitives.linear_backward(weight.shape_, a.forward.rows);
  const auto& copy = state_->backward_copy(primitive, weight);
  state_->run(primitive, {{DNNL_ARG_SRC, &primitive.source, a.d_y},
                          {DNNL_ARG_WEIGHTS, &copy.layout, copy.data},
                          {DNNL_ARG_DST, &primitive.destination, a.d_x}});
}

void OneDnn::convolution(const Convolution& a) {
  const std::lock_guard lock(state_->mutex);
  const Weight& weight = weight_of(a.weight);
  const Extent out = extent_of_result(weight.shape_, a);
  if (a.batch == 0 || out.height <= 0 || out.width <= 0) return;
  const int64_t in_image = a.height * a.width * weight.shape_.in(),
                out_image = out.height * out.width * weight.shape_.out();
  prepare_residual(a.residual.f32(), a.y.f32(), a.batch * out_image);
  Convolution piece = a;
  if (weight.shape_.bf16) piece.batch = std::clamp<int64_t>(kRoundedElements / in_image, 1, a.batch);
  for (int64_t begin = 0, step = piece.batch; begin < a.batch; begin += step) {
    piece.batch = std::min(step, a.batch - begin);
    const Primitive& primitive =
        state_->primitives.convolution(weight.shape_, piece, static_cast<bool>(a.residual));
    state_->execute(primitive, weight,
                    state_->operand(weight, a.x.f32() + begin * in_image, piece.batch * in_image),
                    a.y.f32() + begin * out_image);
  }
}

void OneDnn::convolution_backward(const ConvolutionBackward& a) {
  const std::lock_guard lock(state_->mutex);
  const Weight& weight = weight_of(a.forward.weight);
  const Convolution& forward = a.forward;
  const Extent out = extent_of_result(weight.shape_, forward);
  const int64_t in_count = forward.batch * forward.height * forward.width * weight.shape_.in(),
                out_count = forward.batch * out.height * out.width * weight.shape_.out();
  if (in_count == 0 || out_count <= 0) return;
  const float* d_y = a.d_y;
  if (forward.activation == Activation::relu) {
    auto* masked = static_cast<float*>(state_->masked.get(static_cast<size_t>(out_count) * sizeof(float)));
    relu_backward(forward.y.f32(), a.d_y, masked, out_count);
    d_y = masked;
  }
  // oneDNN's gradient cannot be added to what is there.
  auto* d_x = static_cast<float*>(state_->added.get(static_cast<size_t>(in_count) * sizeof(float)));
  const Primitive& primitive = state_->primitives.convolution_backward(weight.shape_, forward);
  const auto& copy = state_->backward_copy(primitive, weight);
  state_->run(primitive, {{DNNL_ARG_DIFF_DST, &primitive.source, d_y},
                          {DNNL_ARG_WEIGHTS, &copy.layout, copy.data},
                          {DNNL_ARG_DIFF_SRC, &primitive.destination, d_x}});
  scaled_sum({.count = in_count, .a = a.d_x, .b = d_x, .b_scale = 1, .y = a.d_x});
}

}  // namespace eg4d::cpu
