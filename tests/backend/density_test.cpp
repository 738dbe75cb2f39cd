// The device operations of density control, one by one; tests/splat/density_control_test.cpp has them
// together.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "nn/tensor.h"
#include "support/random_values.h"

namespace eg4d::test {
namespace {

class Density : public testing::Test {
 protected:
  template <class T>
  Tensor device(const std::vector<T>& values) {
    return Tensor::from_host<T>(*backend_, {static_cast<int64_t>(values.size())}, values);
  }
  std::vector<float> noise(const std::vector<int32_t>& rows, uint64_t seed = 1, uint64_t stream = 2) {
    const Tensor list = device(rows);
    const auto count = static_cast<int64_t>(rows.size());
    const Tensor normals = Tensor::empty(*backend_, {2, count, 3});
    backend_->run(SplitNoise{count, list.data<int32_t>(), seed, stream, normals.data()});
    return normals.to_host();
  }
  std::unique_ptr<Backend> backend_ = make_cpu_backend({.guard_memory = true});
};

TEST_F(Density, RowsAreTheFatesInOrder) {
  Philox random(1);
  for (const size_t count : {size_t{0}, size_t{1}, size_t{31}, size_t{8192}, size_t{8193}, size_t{50000}}) {
    constexpr uint8_t kinds[] = {0, kDensityKept, kDensityKept | kDensityCloned, kDensitySplit};
    std::vector<uint8_t> fates(count);
    for (uint8_t& fate : fates) fate = kinds[random.below(4)];
    std::vector<int32_t> kept, cloned, split;
    for (size_t i = 0; i < count; ++i) {
      if (fates[i] & kDensityKept) kept.push_back(static_cast<int32_t>(i));
      if (fates[i] & kDensityCloned) cloned.push_back(static_cast<int32_t>(i));
      if (fates[i] & kDensitySplit) split.push_back(static_cast<int32_t>(i));
    }
    if (count == 1 && fates[0] == 0) kept.push_back(0);
    std::vector<int32_t> wanted = kept;
    for (const auto* more : {&cloned, &split, &split})
      wanted.insert(wanted.end(), more->begin(), more->end());

    const Tensor device_fates = device(fates), totals = device(std::vector<int32_t>(3, -1)),
                 rows = device(std::vector<int32_t>(2 * count, -7));
    backend_->run(DensityRows{static_cast<int64_t>(count), device_fates.data<uint8_t>(), rows.data<int32_t>(),
                              totals.data<int32_t>()});
    EXPECT_EQ(totals.to_host<int32_t>(),
              (std::vector<int32_t>{static_cast<int32_t>(kept.size()), static_cast<int32_t>(cloned.size()),
                                    static_cast<int32_t>(split.size())}));
    std::vector<int32_t> have = rows.to_host<int32_t>();
    have.resize(wanted.size());
    EXPECT_EQ(have, wanted);
  }
}

TEST_F(Density, NoiseBelongsToTheGaussianAndNotToItsPlace) {
  const std::vector<int32_t> rows{900000, 3, 17, 4};
  const std::vector<float> together = noise(rows);
  for (size_t k = 0; k < rows.size(); ++k) {
    const std::vector<float> alone = noise({rows[k]});
    for (size_t part = 0; part < 2; ++part)
      for (size_t axis = 0; axis < 3; ++axis)
        EXPECT_EQ(together[(part * rows.size() + k) * 3 + axis], alone[part * 3 + axis]);
  }
  EXPECT_TRUE(noise({}).empty());
  EXPECT_NE(noise({3}), noise({4}));
  EXPECT_NE(noise({3}), noise({3}, 2));     // seed
  EXPECT_NE(noise({3}), noise({3}, 1, 3));  // stream
}

TEST_F(Density, NoiseIsNormalAndIndependent) {
  constexpr int64_t count = 100000;
  std::vector<int32_t> rows(count);
  std::iota(rows.begin(), rows.end(), 0);
  const std::vector<float> normals = noise(rows);
  double moments[4] = {}, products[3] = {};
  int64_t beyond = 0;  // 1.96 standard deviations
  for (size_t i = 0; i < normals.size(); ++i) {
    double power = 1;
    for (double& moment : moments) moment += power *= double{normals[i]};
    beyond += std::abs(normals[i]) > 1.959964f;
  }
  for (size_t k = 0; k + 3 < 3 * count; k += 3) {
    products[0] += double{normals[k]} * normals[k + 1];          // two axes of one block
    products[1] += double{normals[k]} * normals[3 * count + k];  // the two parts
    products[2] += double{normals[k]} * normals[k + 3];          // the next Gaussian
  }
  const auto n = static_cast<double>(normals.size());
  EXPECT_NEAR(moments[0] / n, 0, 0.005);
  EXPECT_NEAR(moments[1] / n, 1, 0.01);
  EXPECT_NEAR(moments[2] / n, 0, 0.02);
  EXPECT_NEAR(moments[3] / n, 3, 0.06);
  EXPECT_NEAR(static_cast<double>(beyond) / n, 0.05, 0.002);
  for (const double product : products) EXPECT_NEAR(product / count, 0, 0.02);
}

TEST_F(Density, APartKeepsItsPlaceWhereTheNewOneWouldBeNoNumber) {
  const Tensor normals = device(std::vector<float>{1, 2, 3, 1, 2, 3, 1, 2, 3});
  const Tensor quaternions = device(std::vector<float>{0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, NAN});
  const Tensor positions = device(std::vector<float>{1, 1, 1, 2, 2, 2, 3, 3, 3});
  const Tensor scales = device(std::vector<float>{0, 0, 0, 0, 0, 200, 0, 0, 0});
  backend_->run(SplitGaussians{3, normals.data(), quaternions.data(), positions.data(), scales.data()});
  // A quaternion of zeros turns nothing; exp(200) has no place; NaN has none either.
  EXPECT_EQ(positions.to_host(), (std::vector<float>{2, 3, 4, 2, 2, 2, 3, 3, 3}));
  EXPECT_EQ(scales.to_host()[5], 200 - kSplitLogScale);
  backend_->run(SplitGaussians{});
}

// A quarter turn about z takes x to y.
TEST_F(Density, PartsLieAlongTheTurnedAxes) {
  const float half = std::sqrt(0.5f);
  const Tensor normals = device(std::vector<float>{1, 0, 0}),
               quaternions = device(std::vector<float>{half, 0, 0, half});
  const Tensor positions = device(std::vector<float>{5, 6, 7}),
               scales = device(std::vector<float>{std::log(3.0f), 0, 0});
  backend_->run(SplitGaussians{1, normals.data(), quaternions.data(), positions.data(), scales.data()});
  const std::vector<float> place = positions.to_host();
  EXPECT_NEAR(place[0], 5, 1e-6);
  EXPECT_NEAR(place[1], 9, 2e-6);
  EXPECT_NEAR(place[2], 7, 1e-6);
  EXPECT_NEAR(std::exp(scales.to_host()[0]), 3 / 1.6, 1e-6);
}

TEST_F(Density, NothingToDoIsDone) {
  backend_->run(DecideDensity{});
  backend_->run(SplitNoise{});
  backend_->run(ClampAbove{});
}

}  // namespace
}  // namespace eg4d::test
