#include "nn/prepared_call.h"

#include <gtest/gtest.h>

#include "nn/layers.h"
#include "support/counting_backend.h"
#include "support/expect_error.h"

namespace eg4d::test {
namespace {

Tensor row(Backend& backend, const std::vector<float>& values) {
  return Tensor::from_host<float>(backend, {static_cast<int64_t>(values.size())}, values);
}

// y = 2·(2·x), through a tensor in the arena.
PreparedCall::Body quadruple(const Tensor& x, const Tensor& y) {
  return [=](Session& session) {
    const Tensor doubled = session.empty(x.shape());
    session.run(ScaledSum{.count = x.count(), .a = x.array(), .a_scale = 2, .y = doubled.array()});
    session.run(ScaledSum{.count = x.count(), .a = doubled.array(), .a_scale = 2, .y = y.array()});
  };
}

TEST(PreparedCall, IsRecordedOnceAndReplayedWithWhatTheTensorsHoldThen) {
  CountingBackend backend;
  Arena arena(backend);
  Tensor x = row(backend, {1, 2, 3}), y = row(backend, {0, 0, 0});
  PreparedCall call(arena, DType::f32, quadruple(x, y));
  for (const float offset : {0.0f, 5.0f, -1.0f}) {
    const std::vector<float> values = {1 + offset, 2 + offset, 3 + offset};
    x.copy_from_host(values.data(), 3 * sizeof(float));
    {
      const NothingCrosses inside(backend);
      call.run();
    }
    EXPECT_EQ(y.to_host(), (std::vector<float>{4 * values[0], 4 * values[1], 4 * values[2]}));
  }
  EXPECT_EQ(backend.counts().recorded, 1);
  EXPECT_EQ(backend.counts().replayed, 3);
}

TEST(PreparedCall, IsRecordedAnewWhenALargerOneHasMovedTheArena) {
  CountingBackend backend;
  Arena arena(backend);
  const Tensor x = row(backend, {1, 2, 3}), y = row(backend, {0, 0, 0});
  PreparedCall small(arena, DType::f32, quadruple(x, y));
  small.run();
  const uint64_t version = arena.version();
  const Tensor wide = Tensor::zeros(backend, {1000}), result = Tensor::zeros(backend, {1000});
  PreparedCall large(arena, DType::f32, quadruple(wide, result));
  EXPECT_NE(arena.version(), version);
  large.run();
  EXPECT_EQ(backend.counts().recorded, 2);
  y.clone();
  small.run();
  EXPECT_EQ(backend.counts().recorded, 3);
  EXPECT_EQ(y.to_host(), (std::vector<float>{4, 8, 12}));
  large.run();  // its memory has not moved
  EXPECT_EQ(backend.counts().recorded, 3);
}

// What would be overwritten silently is refused.
TEST(PreparedCall, DoesNotRunAmongLivingActivations) {
  const auto backend = make_cpu_backend();
  Arena arena(*backend);
  const Tensor x = row(*backend, {1}), y = row(*backend, {0});
  PreparedCall call(arena, DType::f32, quadruple(x, y));
  Session::run(arena, {}, [&](Session& session) {
    const Tensor alive = session.empty({1});
    if (session.planning()) return;
    EXPECT_THROW(call.run(), std::logic_error);
    EXPECT_ERROR(PreparedCall(arena, DType::f32, quadruple(x, y)), "still alive");
  });
  call.run();
  EXPECT_EQ(y.to_host(), std::vector<float>{4});
}

TEST(PreparedCall, APlanThatFailsLeavesTheArenaUsable) {
  const auto backend = make_cpu_backend();
  Arena arena(*backend);
  const Tensor x = row(*backend, {1}), y = row(*backend, {0});
  PreparedCall call(arena, DType::f32, quadruple(x, y));
  EXPECT_THROW(Session::plan(arena, [](Session&) { throw std::runtime_error("no"); }), std::runtime_error);
  call.run();
  EXPECT_EQ(y.to_host(), std::vector<float>{4});
}

TEST(PreparedFunction, ConvertsAtItsEnds) {
  const auto backend = make_cpu_backend({.emulate_half = true});
  Arena arena(*backend);
  DType seen = DType::f32;
  PreparedFunction function(arena, DType::f16, {2}, [&](Session& session, const Tensor& x) {
    seen = x.dtype();
    Tensor y = session.empty({2});
    session.run(ScaledSum{.count = 2, .a = x.array(), .a_scale = 1, .y = y.array()});
    return y;
  });
  EXPECT_EQ(seen, DType::f16);
  const std::vector<float> values = {1.0f + 0x1p-12f, -3.0f};
  Tensor(function.input()).copy_from_host(values.data(), 2 * sizeof(float));
  function.run();
  EXPECT_EQ(function.output().dtype(), DType::f32);
  EXPECT_EQ(function.output().to_host(), (std::vector<float>{1, -3}));  // rounded to 10 bits
}

TEST(Tensor, RowsLieInTheSameMemory) {
  const auto backend = make_cpu_backend();
  const Tensor all = Tensor::from_host<float>(*backend, {3, 2}, {0, 1, 2, 3, 4, 5});
  EXPECT_EQ(all.rows(1, 2).to_host(), (std::vector<float>{2, 3, 4, 5}));
  EXPECT_EQ(all.rows(3, 0).shape(), (Shape{0, 2}));
  all.rows(0, 1).converted(DType::f32).fill_zero();
  EXPECT_EQ(all.to_host(), (std::vector<float>{0, 0, 2, 3, 4, 5}));
  EXPECT_ERROR(all.rows(2, 2), "has no rows 2 to 4");
  EXPECT_ERROR(all.rows(-1, 1), "has no rows");
}

}  // namespace
}  // namespace eg4d::test
