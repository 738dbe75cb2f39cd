#include "splat/start_points.h"

#include <gtest/gtest.h>

#include <cmath>

namespace eg4d {
namespace {

TEST(StartPoints, RandomOnesAreGreyAsAnEightBitFileKeepsIt) {
  Philox random(1);
  const PointCloud points = random_points(50, 2.0f, random);
  ASSERT_EQ(points.colors.size(), 150u);
  for (const float color : points.colors) EXPECT_EQ(color, 127.0f / 255);
  for (const float position : points.positions) EXPECT_LE(std::abs(position), 2);
}

}  // namespace
}  // namespace eg4d
