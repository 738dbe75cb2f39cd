// The device operations of density control, one by one; tests/splat/density_control_test.cpp has them
// together.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "nn/tensor.h"
#include "support/device_fixture.h"
#include "support/random_values.h"

namespace eg4d::test {
namespace {

class Density : public OnEachDevice {
 protected:
  template <class T>
  Tensor device(const std::vector<T>& values) {
    return Tensor::from_host<T>(backend(), {static_cast<int64_t>(values.size())}, values);
  }
  std::vector<float> noise(const std::vector<int32_t>& rows, uint64_t seed = 1, uint64_t stream = 2) {
    const Tensor list = device(rows);
    const auto count = static_cast<int64_t>(rows.size());
    const Tensor normals = Tensor::empty(backend(), {2, count, 3});
    backend().run(SplitNoise{count, list.data<int32_t>(), seed, stream, normals.data()});
    return normals.to_host();
  }
};

TEST_P(Density, RowsAreTheFatesInOrder) {
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
    backend().run(DensityRows{static_cast<int64_t>(count), device_fates.data<uint8_t>(), rows.data<int32_t>(),
                              totals.data<int32_t>()});
    EXPECT_EQ(totals.to_host<int32_t>(),
              (std::vector<int32_t>{static_cast<int32_t>(kept.size()), static_cast<int32_t>(cloned.size()),
                                    static_cast<int32_t>(split.size())}));
    std::vector<int32_t> have = rows.to_host<int32_t>();
    have.resize(wanted.size());
    EXPECT_EQ(have, wanted);
  }
}

TEST_P(Density, NoiseBelongsToTheGaussianAndNotToItsPlace) {
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

TEST_P(Density, NoiseIsNormalAndIndependent) {
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

TEST_P(Density, APartKeepsItsPlaceWhereTheNewOneWouldBeNoNumber) {
  const Tensor normals = device(std::vector<float>{1, 2, 3, 1, 2, 3, 1, 2, 3});
  const Tensor quaternions = device(std::vector<float>{0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, NAN});
  const Tensor positions = device(std::vector<float>{1, 1, 1, 2, 2, 2, 3, 3, 3});
  const Tensor scales = device(std::vector<float>{0, 0, 0, 0, 0, 200, 0, 0, 0});
  backend().run(SplitGaussians{3, normals.data(), quaternions.data(), positions.data(), scales.data()});
  // A quaternion of zeros turns nothing; exp(200) has no place; NaN has none either.
  EXPECT_EQ(positions.to_host(), (std::vector<float>{2, 3, 4, 2, 2, 2, 3, 3, 3}));
  EXPECT_EQ(scales.to_host()[5], 200 - kSplitLogScale);
  backend().run(SplitGaussians{});
}

// A quarter turn about z takes x to y.
TEST_P(Density, PartsLieAlongTheTurnedAxes) {
  const float half = std::sqrt(0.5f);
  const Tensor normals = device(std::vector<float>{1, 0, 0}),
               quaternions = device(std::vector<float>{half, 0, 0, half});
  const Tensor positions = device(std::vector<float>{5, 6, 7}),
               scales = device(std::vector<float>{std::log(3.0f), 0, 0});
  backend().run(SplitGaussians{1, normals.data(), quaternions.data(), positions.data(), scales.data()});
  const std::vector<float> place = positions.to_host();
  EXPECT_NEAR(place[0], 5, 1e-6);
  EXPECT_NEAR(place[1], 9, 2e-6);
  EXPECT_NEAR(place[2], 7, 1e-6);
  EXPECT_NEAR(std::exp(scales.to_host()[0]), 3 / 1.6, 1e-6);
}

TEST_P(Density, NothingToDoIsDone) {
  backend().run(DecideDensity{});
  backend().run(SplitNoise{});
  backend().run(ClampAbove{});
}

// Every device decides and draws the same (core/portable_math.h).
class DensityOnDevices : public OnEachDevice {
 protected:
  struct Result {
    std::vector<uint8_t> fates;
    std::vector<float> normals, positions, log_scales, statistics;
    bool operator==(const Result&) const = default;
  };
  static Result on(Backend& backend) {
    constexpr int64_t n = 5000;
    Philox random(77);
    const auto draw = [&](int64_t width, float low, float high) {
      std::vector<float> values = uniform_values<float>(random, width * n, low, high);
      values[static_cast<size_t>(width) * 11] = NAN;
      return Tensor::from_host(backend, {n * width}, values);
    };
    const Tensor positions = draw(3, -1, 1), log_scales = draw(3, -6, 3), quaternions = draw(4, -1, 1),
                 logits = draw(1, -6, 6), sums = draw(1, 0, 1), views = draw(1, 0, 30),
                 radii = draw(1, 0, 40), d_means = draw(2, -1, 1), importance = draw(3, 0, 1);
    std::vector<int32_t> rows(n), seen(n);
    for (int32_t i = 0; i < n; ++i) rows[i] = 3 * i, seen[i] = i % 3 * i;
    const Tensor t_rows = Tensor::from_host(backend, {n}, rows),
                 t_seen = Tensor::from_host(backend, {n}, seen);
    const Tensor fates = Tensor::empty(backend, {n}, DType::u8), normals = Tensor::empty(backend, {2, n, 3});
    backend.run(DensityStatistics{n, d_means.data(), t_seen.data<int32_t>(), sums.data(), views.data(),
                                  radii.data()});
    DecideDensity decide{n,           positions.data(), log_scales.data(), quaternions.data(), logits.data(),
                         sums.data(), views.data()};
    decide.gradient = 0.03f;
    decide.dense_size = -1;
    decide.prune = true;
    decide.smallest_logit = -5;
    decide.largest_size = 2.2f;
    decide.max_radii = radii.data();
    decide.largest_radius = 4000;
    decide.importance = importance.data();
    decide.least_error = 0.1f;
    decide.least_weight = 0.05f;
    decide.fates = fates.data<uint8_t>();
    backend.run(decide);
    backend.run(SplitNoise{n, t_rows.data<int32_t>(), 12345, 678, normals.data()});
    backend.run(SplitGaussians{n, normals.data(), quaternions.data(), positions.data(), log_scales.data()});
    Result result{fates.to_host<uint8_t>(), normals.to_host(), positions.to_host(), log_scales.to_host(),
                  sums.to_host()};
    for (auto* values : {&result.positions, &result.log_scales, &result.statistics})
      for (float& value : *values)
        if (std::isnan(value)) value = 1e30f;  // so that they can be compared
    return result;
  }
};

TEST_P(DensityOnDevices, TheBitsOfTheProcessor) {
  EXPECT_TRUE(on(backend()) == on(*make_cpu_backend()));
}

EG4D_ON_EACH_DEVICE(Density);
EG4D_ON_EACH_DEVICE(DensityOnDevices);

}  // namespace
}  // namespace eg4d::test
