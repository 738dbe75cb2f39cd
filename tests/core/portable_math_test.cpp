#include "core/portable_math.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "core/random.h"

namespace eg4d::portable {
namespace {

TEST(PortableMath, AgreesWithTheCLibrary) {
  Philox random(1);
  for (int i = 0; i < 20000; ++i) {
    const double x = (random.next_u32() + 1.0) * 0x1p-32 * std::pow(10.0, random.uniform() * 8 - 4);
    EXPECT_NEAR(log(x), std::log(x), 1e-15 * std::max(1.0, std::abs(std::log(x))));
    const double power = random.uniform() * 200 - 100;
    EXPECT_NEAR(exp(power) / std::exp(power), 1, 1e-14);
    const uint32_t turn = random.next_u32();
    const double angle = 2 * std::numbers::pi * (turn * 0x1p-32);
    EXPECT_NEAR(sin_cos_of_turn(turn).sin, std::sin(angle), 2e-15);
    EXPECT_NEAR(sin_cos_of_turn(turn).cos, std::cos(angle), 2e-15);
  }
}

TEST(PortableMath, EdgesAreExact) {
  EXPECT_EQ(log(1.0), 0);
  EXPECT_EQ(exp(0.0), 1);
  EXPECT_EQ(exp(-1e9), 0);
  EXPECT_EQ(exp(1e9), std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(exp(std::numeric_limits<double>::quiet_NaN())));
  for (const uint32_t quarter : {0u, 1u, 2u, 3u}) {
    const SinCos direction = sin_cos_of_turn(quarter << 30);
    EXPECT_EQ(direction.sin, quarter % 2 == 0 ? 0 : (quarter == 1 ? 1 : -1));
    EXPECT_EQ(direction.cos, quarter % 2 == 1 ? 0 : (quarter == 0 ? 1 : -1));
  }
}

// The compiler's own arithmetic rounds as IEEE 754 says: the processor must give the same bits.
TEST(PortableMath, HasTheBitsThatTheCompilerComputes) {
  constexpr double x[] = {1e-9, 0.3, 0.7071, 1.4142, 3.7, 123456.789};
  constexpr double logs[] = {log(x[0]), log(x[1]), log(x[2]), log(x[3]), log(x[4]), log(x[5])};
  constexpr double powers[] = {exp(-x[0]), exp(-x[1]), exp(-x[2]), exp(-x[3]), exp(-x[4]), exp(0.001 * x[5])};
  constexpr uint32_t turns[] = {1, 0x1fffffff, 0x20000000, 0x7654321f, 0xc0000001, 0xffffffff};
  constexpr SinCos directions[] = {sin_cos_of_turn(turns[0]), sin_cos_of_turn(turns[1]),
                                   sin_cos_of_turn(turns[2]), sin_cos_of_turn(turns[3]),
                                   sin_cos_of_turn(turns[4]), sin_cos_of_turn(turns[5])};
  for (size_t i = 0; i < 6; ++i) {
    const volatile double value = x[i];
    const volatile uint32_t turn = turns[i];
    EXPECT_EQ(log(value), logs[i]);
    EXPECT_EQ(exp(i == 5 ? 0.001 * value : -value), powers[i]);
    EXPECT_EQ(sin_cos_of_turn(turn).sin, directions[i].sin);
    EXPECT_EQ(sin_cos_of_turn(turn).cos, directions[i].cos);
  }
}

}  // namespace
}  // namespace eg4d::portable
