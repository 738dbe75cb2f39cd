#include "nn/arena.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "nn/session.h"
#include "support/device_fixture.h"

namespace eg4d {
namespace {

constexpr size_t kFloats = 16;  // 64 bytes: no rounding

EG4D_DEVICE_SUITE(ArenaTest);

TEST_P(ArenaTest, PlanIsTheLargestSumOfLivingTensors) {
  const auto backend = test::make_test_backend({.guard_memory = true});
  Arena arena(*backend);
  const auto body = [](Session& session) {
    Tensor a = session.empty({2 * kFloats});
    { const Tensor b = session.empty({3 * kFloats}); }
    const Tensor c = session.empty({kFloats});  // takes the place of b
    a = Tensor();
    const Tensor d = session.empty({2 * kFloats});  // and d that of a
    EXPECT_EQ(c.shape(), Shape{kFloats});
  };
  Session::run(arena, {}, body);
  EXPECT_EQ(arena.capacity(), 5 * kFloats * sizeof(float));
  // One page of guarded memory; elsewhere rounded up less.
  const size_t allocated = backend->allocated_bytes();
  EXPECT_EQ(allocated, test::current_device().is_cpu() ? 4096 : (arena.capacity() + 255) / 256 * 256);
}

TEST_P(ArenaTest, LivingTensorsDoNotOverlap) {
  const auto backend = test::make_test_backend();
  Arena arena(*backend);
  Session::run(arena, {}, [&](Session& session) {
    std::vector<Tensor> kept;
    uint32_t state = 1;
    for (int i = 0; i < 200; ++i) {
      state = state * 1664525u + 1013904223u;
      if (kept.size() > 5 && state % 3 == 0) kept.erase(kept.begin() + state % 5);
      kept.push_back(session.empty({static_cast<int64_t>(state >> 24)}));
    }
    if (session.planning()) return;
    for (size_t i = 0; i < kept.size(); ++i)
      backend->run(FillBytes{kept[i].raw(), static_cast<uint8_t>(i), kept[i].bytes()});
    for (size_t i = 0; i < kept.size(); ++i) {
      uint32_t pattern = 0x01010101u * static_cast<uint32_t>(i);
      for (const float value : kept[i].to_host()) EXPECT_EQ(std::bit_cast<uint32_t>(value), pattern);
    }
  });
}

TEST_P(ArenaTest, AskingForMoreThanPlannedIsAnError) {
  const auto backend = test::make_test_backend();
  Arena arena(*backend);
  EXPECT_THROW(
      Session::run(arena, {}, [](Session& session) { session.empty({session.planning() ? 16 : 64}); }),
      Error);
  // The arena is still good for the next call.
  Session::run(arena, {}, [](Session& session) { session.empty({128}); });
  EXPECT_EQ(arena.capacity(), 512u);
}

}  // namespace
}  // namespace eg4d
