#include "pipeline/pictures.h"

#include <gtest/gtest.h>

#include <limits>

#include "backend/backend.h"

namespace eg4d {
namespace {

TEST(Pictures, EveryFloatBecomesAByte) {
  const auto backend = make_cpu_backend();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<float> values{0,       1,         0.5f,       1.001f,
                                  -0.001f, 0.0019f,   0.0020f,    1e30f,
                                  -1e30f,  kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()};
  const Picture picture = to_picture(Tensor::from_host<float>(*backend, {2, 2, 3}, values));
  EXPECT_EQ(picture.data, (std::vector<uint8_t>{0, 255, 128, 255, 0, 0, 1, 255, 0, 255, 0, 0}));
}

}  // namespace
}  // namespace eg4d
