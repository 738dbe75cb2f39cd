#include "splat/evaluation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace eg4d {
namespace {

TEST(Psnr, IsNotPerfectForNaN) {
  EXPECT_EQ(psnr_of(0), 100);
  EXPECT_DOUBLE_EQ(psnr_of(0.01), 20);
  EXPECT_TRUE(std::isnan(psnr_of(std::numeric_limits<double>::quiet_NaN())));
  EXPECT_LT(psnr_of(std::numeric_limits<double>::infinity()), -1e9);
}

}  // namespace
}  // namespace eg4d
