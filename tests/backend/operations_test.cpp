// What holds for operations of every kind: their list, recordings, activations of other types.

#include "backend/operations.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <stdexcept>

#include "backend/operation_arrays.h"
#include "core/half.h"
#include "nn/tensor.h"
#include "support/device_fixture.h"
#include "support/expect_error.h"
#include "support/operation_test.h"

namespace eg4d::test {
namespace {

template <size_t... I>
std::set<std::string> all_names(std::index_sequence<I...>) {
  return {name_of(Operation(std::variant_alternative_t<I, Operation>{}))...};
}

TEST(Operations, EachHasANameOfItsOwn) {
  constexpr size_t count = std::variant_size_v<Operation>;
  EXPECT_EQ(all_names(std::make_index_sequence<count>()).size(), count);
  EXPECT_STREQ(name_of(Operation(GroupNorm{})), "group norm");
  EXPECT_STREQ(name_of(Operation(FillBytes{})), "fill");
}

class TypedOperations : public OnEachDeviceWith<DType> {
 protected:
  Tensor device(Backend& on, Shape shape, const Values& values, DType type = DType::f32) {
    const Tensor plain = Tensor::from_host<float>(on, std::move(shape), values);
    if (type == DType::f32) return plain;
    const Tensor typed = Tensor::empty(on, plain.shape(), type);
    on.run(Convert{.count = plain.count(), .x = plain.array(), .y = typed.array()});
    return typed;
  }
  Values host(Backend& on, const Tensor& tensor) {
    const Tensor plain = Tensor::empty(on, tensor.shape());
    on.run(Convert{.count = tensor.count(), .x = tensor.array(), .y = plain.array()});
    return plain.to_host();
  }
  // The nearest number of the type.
  float rounded(float value) const {
    return parameter() == DType::f16 ? half_to_float(float_to_half(value))
                                     : bfloat16_to_float(float_to_bfloat16(value));
  }
  Values rounded(Values values) const {
    for (float& value : values) value = rounded(value);
    return values;
  }

  const DType type_ = parameter();
  // The processor rounds where it should and nowhere else; a GPU's sums have another order.
  void expect_rounded(const Values& result, const Values& exact) const {
    if (current_device().is_cpu())
      EXPECT_EQ(result, rounded(exact));
    else
      EXPECT_LE(relative_error(result, rounded(exact)), tolerance(type_));
  }

  std::unique_ptr<Backend> emulating_ = make_test_backend({.guard_memory = true, .emulate_half = true});
};

// Operands and result are rounded, nothing in between is: exactly the f32 operation on rounded numbers,
// rounded.
TEST_P(TypedOperations, RoundOperandsAndResultsAlone) {
  Backend& on = *emulating_;
  constexpr int64_t rows = 7, in = 31, out = 12;
  const Values x = numbers(rows * in, 1), w = numbers(in * out, 2), residual = numbers(rows * out, 3);
  const auto weight = on.pack_linear({.in = in, .out = out, .weight = w});
  const auto run = [&](DType type, const Values& operand, const Values& added) {
    const Tensor dx = device(on, {rows, in}, operand, type), dy = device(on, {rows, out}, added, type);
    on.run(Linear{.rows = rows,
                  .x = dx.array(),
                  .weight = weight.get(),
                  .activation = Activation::silu,
                  .residual = dy.array(),
                  .y = dy.array()});
    return host(on, dy);
  };
  expect_rounded(run(type_, x, residual), run(DType::f32, rounded(x), rounded(residual)));
}

TEST_P(TypedOperations, StridedOperandsAndGapsInResults) {
  Backend& on = *emulating_;
  constexpr int64_t tokens = 5, heads = 2, head_dim = 8, width = heads * head_dim;
  const Values qkv = numbers(tokens * 3 * width, 4);
  const auto run = [&](DType type, const Values& operand) {
    const Tensor dx = device(on, {tokens, 3 * width}, operand, type);
    const Tensor dy = device(on, {tokens, width}, numbers(tokens * width, 5), type);
    Attention a;
    a.heads = heads;
    a.head_dim = head_dim;
    a.queries = a.keys = tokens;
    a.q = a.k = a.v = {dx.array(), 0, 0, 3 * width};
    a.k.data = a.k.data.at(width);
    a.v.data = a.v.data.at(2 * width);
    a.y = dy.array();
    a.y_token_stride = width;
    on.run(a);
    return host(on, dy);
  };
  expect_rounded(run(type_, qkv), run(DType::f32, rounded(qkv)));

  // Columns 2 and 3 of every row are written; what lies between stays.
  const Tensor to = device(on, {3, 5}, numbers(15, 6), type_),
               from = device(on, {3, 2}, numbers(6, 7), type_);
  on.run(CopyRows{
      .rows = 3, .width = 2, .from = from.array(), .from_pitch = 2, .to = to.array().at(2), .to_pitch = 5});
  Values wanted = rounded(numbers(15, 6));
  const Values source = rounded(numbers(6, 7));
  for (size_t r = 0; r < 3; ++r)
    for (size_t c = 0; c < 2; ++c) wanted[r * 5 + 2 + c] = source[r * 2 + c];
  EXPECT_EQ(host(on, to), wanted);
}

TEST_P(TypedOperations, LengthsOfNothing) {
  Backend& on = *emulating_;
  const Tensor empty = Tensor::empty(on, {0, 4}, type_);
  on.run(ScaledSum{.count = 0, .a = empty.array(), .b = empty.array(), .y = empty.array()});
  on.run(CopyRows{.rows = 0, .width = 4, .from = empty.array(), .to = empty.array()});
  Attention a;
  a.q = a.k = a.v = {empty.array(), 0, 0, 64};
  a.y = empty.array();
  on.run(a);
}

TEST_P(TypedOperations, AreRefusedWhereTheyAreNotEmulated) {
  EG4D_TEST_OF_THE_PROCESSOR();
  const auto plain = make_cpu_backend();
  const Tensor x = Tensor::zeros(*plain, {4}, type_);
  EXPECT_ERROR(plain->run(Activate{.count = 4, .x = x.array(), .y = x.array()}), "in f32 only");
}

INSTANTIATE_TEST_SUITE_P(Types, TypedOperations,
                         testing::Combine(testing::ValuesIn(test_devices()),
                                          testing::Values(DType::f16, DType::bf16)),
                         device_label_and([](DType type) { return name_of(type); }));

// ---------------------------------------------------------------- operations made of others

using CompositeOperations = OperationTest;

TEST_P(CompositeOperations, FeedForwardIsItsLayersOneAfterTheOther) {
  for (const int64_t rows : {0, 1, 31, 700}) {
    constexpr int64_t in = 40, inner = 60, out = 24;
    const Values x = numbers(rows * in, 1), added = numbers(rows * out, 2);
    const Values w1 = numbers(in * 2 * inner, 3), b1 = numbers(2 * inner, 4), w2 = numbers(inner * out, 5);
    const auto widen = ops().pack_linear({.in = in, .out = 2 * inner, .weight = w1, .bias = b1});
    const auto narrow = ops().pack_linear({.in = inner, .out = out, .weight = w2});
    const Tensor dx = device({rows, in}, x), whole = device({rows, out}, added),
                 steps = device({rows, out}, added);
    ops().run(FeedForward{.rows = rows,
                          .inner = inner,
                          .x = dx.array(),
                          .widen = widen.get(),
                          .narrow = narrow.get(),
                          .residual = whole.array(),
                          .y = whole.array()});
    const Tensor wide = Tensor::empty(*backend, {rows, 2 * inner}),
                 gated = Tensor::empty(*backend, {rows, inner});
    ops().run(Linear{.rows = rows, .x = dx.array(), .weight = widen.get(), .y = wide.array()});
    ops().run(Geglu{.rows = rows, .width = inner, .x = wide.array(), .y = gated.array()});
    ops().run(Linear{.rows = rows,
                     .x = gated.array(),
                     .weight = narrow.get(),
                     .residual = steps.array(),
                     .y = steps.array()});
    EXPECT_EQ(whole.to_host(), steps.to_host()) << rows;
  }
}

TEST_P(CompositeOperations, MixedNormMixesThenNorms) {
  constexpr int64_t rows = 9, width = 33;
  const Values x = numbers(rows * width, 1), reference = numbers(rows * width, 2);
  const Tensor scale = device({width}, numbers(width, 3)), shift = device({width}, numbers(width, 4));
  const float strength = 0.3f;
  for (const bool keep : {false, true}) {
    const Tensor dx = device({rows, width}, x), dreference = device({rows, width}, reference);
    const Tensor y = Tensor::empty(*backend, {rows, width}), mixed = Tensor::empty(*backend, {rows, width}),
                 wanted = Tensor::empty(*backend, {rows, width});
    LayerNorm norm;
    norm.rows = rows;
    norm.width = width;
    norm.x = dx.array();
    norm.scale = scale.data();
    norm.shift = shift.data();
    norm.y = y.array();
    ops().run(MixedNorm{.norm = norm, .reference = dreference.array(), .strength = strength, .keep = keep});
    const Tensor source = device({rows, width}, reference);
    ops().run(ScaledSum{.count = rows * width,
                        .a = source.array(),
                        .b = dx.array(),
                        .a_scale = strength,
                        .b_scale = 1 - strength,
                        .y = mixed.array()});
    norm.x = mixed.array();
    norm.y = wanted.array();
    ops().run(norm);
    expect_same_values(y.to_host(), wanted.to_host());
    expect_same_values(dreference.to_host(), keep ? mixed.to_host() : reference);
  }
}

INSTANTIATE_TEST_SUITE_P(, CompositeOperations, testing::ValuesIn(test_devices_by_instruction_set()),
                         DeviceLabel());

// ---------------------------------------------------------------- recordings

EG4D_DEVICE_SUITE(RecordingsTest);

TEST_P(RecordingsTest, ReplayWithWhatTheMemoryHoldsThen) {
  const auto backend = make_test_backend({.guard_memory = true});
  const Tensor x = Tensor::from_host<float>(*backend, {4}, Values{1, 2, 3, 4}),
               y = Tensor::zeros(*backend, {4});
  const auto recording = backend->record([&] {
    backend->run(
        ScaledSum{.count = 4, .a = x.array(), .b = y.array(), .a_scale = 2, .b_scale = 1, .y = y.array()});
    backend->run(CopyBytes{x.raw(), y.raw(), y.bytes()});
  });
  EXPECT_EQ(y.to_host(), Values(4, 0)) << "recording does nothing yet";
  backend->replay(*recording);
  EXPECT_EQ(y.to_host(), (Values{2, 4, 6, 8}));
  backend->replay(*recording);
  EXPECT_EQ(y.to_host(), (Values{6, 12, 18, 24}));
}

TEST_P(RecordingsTest, AllocateAndReadNothing) {
  const auto backend = make_test_backend();
  const Tensor x = Tensor::zeros(*backend, {4});
  EXPECT_THROW(backend->record([&] { Tensor::zeros(*backend, {4}); }), std::logic_error);
  EXPECT_THROW(backend->record([&] { x.to_host(); }), std::logic_error);
  EXPECT_THROW(backend->record([&] { backend->record([] {}); }), std::logic_error);
  // After such a mistake operations are done again.
  backend->run(FillBytes{x.raw(), 0xff, x.bytes()});
  EXPECT_TRUE(std::isnan(x.to_host()[0]));
}

}  // namespace
}  // namespace eg4d::test
