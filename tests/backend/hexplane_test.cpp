#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "backend/backend.h"
#include "support/device_fixture.h"
#include "support/golden.h"
#include "support/instruction_sets.h"
#include "support/random_values.h"
#include "support/reference_hexplane.h"

namespace eg4d::test {
namespace {

// Points inside and (some) outside the box; times over the whole axis and beyond.
HexPlaneInput<double> random_input(const HexPlaneLayout& layout, int64_t count, uint64_t seed) {
  Philox random(seed);
  HexPlaneInput<double> input;
  input.layout = layout;
  input.grid = uniform_values(random, layout.size(), 0.5, 1.5);
  input.box = {1.2, 0.9, 1.0, -1.1, -1.0, -1.3};
  input.points = uniform_values(random, count * 3, -1.4, 1.4);
  input.times = uniform_values(random, count, -1.1, 1.1);
  // What the kernels see.
  for (auto* values : {&input.grid, &input.box, &input.points, &input.times})
    *values = converted<double>(converted<float>(*values));
  return input;
}

// The kernels take one time for all points: the first's.
HexPlaneInput<double> at_one_time(HexPlaneInput<double> input) {
  if (!input.times.empty()) std::fill(input.times.begin(), input.times.end(), input.times[0]);
  return input;
}

struct Result {
  std::vector<float> features;
  HexPlaneGradients<float> gradients;
  std::vector<float> all() const {
    std::vector<float> values = features;
    for (const auto* part : {&gradients.grid, &gradients.box, &gradients.points})
      values.insert(values.end(), part->begin(), part->end());
    return values;
  }
};

// Gradients start at `start`, to which the backward pass adds.
Result run_kernels(const HexPlaneInput<double>& input, const std::vector<double>& d_features,
                   float start = 0) {
  const auto backend = make_test_backend({.guard_memory = true});
  const auto constant = [&](size_t count) { return upload(*backend, std::vector<float>(count, start)); };
  const size_t count = input.times.size();
  const Tensor grid = upload(*backend, converted<float>(input.grid)),
               box = upload(*backend, converted<float>(input.box)),
               points = upload(*backend, converted<float>(input.points)),
               time = upload(*backend, {count > 0 ? static_cast<float>(input.times[0]) : 0.0f}),
               derivatives = upload(*backend, converted<float>(d_features)),
               features = constant(d_features.size()), d_grid = constant(input.grid.size()),
               d_box = constant(6), d_points = constant(count * 3);
  const auto context = backend->create_field_context({input.layout, {}});
  HexPlaneBackward field;
  field.forward.context = context.get();
  field.forward.count = static_cast<int64_t>(count);
  field.forward.grid = grid.data();
  field.forward.box = box.data();
  field.forward.points = points.data();
  field.forward.time = time.data();
  field.forward.features = features.data();
  field.d_features = derivatives.data();
  field.d_grid = d_grid.data();
  field.d_box = d_box.data();
  field.d_points = d_points.data();
  backend->run(field.forward);
  backend->run(field);
  return {features.to_host(), {d_grid.to_host(), d_box.to_host(), d_points.to_host(), {}}};
}

void compare(const HexPlaneInput<double>& input, const Result& result,
             const HexPlaneGradients<double>& wanted, const std::string& what) {
  EXPECT_LE(relative_error(result.features, converted<float>(reference_hexplane(input))), 1e-5) << what;
  EXPECT_LE(relative_error(result.gradients.grid, converted<float>(wanted.grid)), 1e-5) << what;
  EXPECT_LE(relative_error(result.gradients.box, converted<float>(wanted.box)), 1e-4) << what;
  EXPECT_LE(relative_error(result.gradients.points, converted<float>(wanted.points)), 1e-4) << what;
}

TEST(HexPlaneReference, GradientsAreDerivatives) {
  HexPlaneInput<double> input = random_input(make_hexplane_layout(2, {{4, 5, 3, 3}, {6, 7, 5, 3}}), 9, 1);
  Philox random(2);
  const std::vector<double> weight = uniform_values(random, 9 * input.layout.feature_width(), -1.0, 1.0);
  const auto value = [&] {
    const std::vector<double> features = reference_hexplane(input);
    double sum = 0;
    for (size_t i = 0; i < features.size(); ++i) sum += weight[i] * features[i];
    return sum;
  };
  const HexPlaneGradients<double> d = reference_hexplane_backward(input, weight);
  const auto check = [&](std::vector<double>& parameter, const std::vector<double>& gradient) {
    for (size_t i = 0; i < parameter.size(); ++i)
      EXPECT_NEAR(gradient[i], central_difference(parameter[i], 1e-6, value), 1e-6) << i;
  };
  check(input.grid, d.grid);
  check(input.box, d.box);
  check(input.points, d.points);
  check(input.times, d.times);
}

EG4D_DEVICE_SUITE(HexPlaneTest);

TEST_P(HexPlaneTest, MatchesTheReferenceForAnySizes) {
  for_each_instruction_set([] {
    const std::vector<HexPlaneLayout> layouts = {
        make_hexplane_layout(32, 8, 5, 2), make_hexplane_layout(16, 7, 3, 1),
        make_hexplane_layout(1, 3, 2, 3), make_hexplane_layout(13, {{5, 2, 9, 1}, {1, 3, 1, 7}}),
        make_hexplane_layout(37, {{1, 1, 1, 1}})};
    uint64_t seed = 10;
    for (const HexPlaneLayout& layout : layouts)
      for (const int64_t count : {1, 31, 700}) {
        const HexPlaneInput<double> input = at_one_time(random_input(layout, count, ++seed));
        Philox random(seed, 1);
        const std::vector<double> d_features =
            converted<double>(uniform_values(random, count * layout.feature_width(), -1.0f, 1.0f));
        const Result result = run_kernels(input, d_features);
        const HexPlaneGradients<double> wanted = reference_hexplane_backward(input, d_features);
        const std::string what = std::to_string(layout.channels) + " channels, N=" + std::to_string(count);
        compare(input, result, wanted, what);
      }
  });
}

TEST_P(HexPlaneTest, BackwardAddsAndPointsWithoutDerivativeChangeNothing) {
  const HexPlaneInput<double> input = at_one_time(random_input(make_hexplane_layout(8, 6, 5, 2), 200, 7));
  Philox random(8);
  const int width = input.layout.feature_width();
  std::vector<double> d_features = converted<double>(uniform_values(random, 200 * width, -1.0f, 1.0f));
  for (int i = 0; i < 200; ++i)
    if (i % 3 != 0) std::fill_n(d_features.begin() + i * width, width, 0.0);
  const Result result = run_kernels(input, d_features, 1);
  HexPlaneGradients<double> wanted = reference_hexplane_backward(input, d_features);
  for (auto* part : {&wanted.grid, &wanted.box, &wanted.points})
    for (double& v : *part) v += 1;
  compare(input, result, wanted, "added");
}

TEST_P(HexPlaneTest, TheBorderCountsAsClamped) {
  HexPlaneInput<double> input = random_input(make_hexplane_layout(4, 5, 5, 1), 2, 9);
  for (size_t a = 0; a < 3; ++a) {
    input.points[a] = input.box[a];
    input.points[3 + a] = input.box[3 + a];
  }
  input.times = {-1, -1};
  const Result result = run_kernels(input, std::vector<double>(8, 1.0));
  EXPECT_EQ(result.gradients.points, std::vector<float>(6));
  EXPECT_EQ(result.gradients.box, std::vector<float>(6));
}

TEST_P(HexPlaneTest, NoPointsAndNothingWanted) {
  const HexPlaneInput<double> empty = random_input(make_hexplane_layout(4, 5, 5, 1), 0, 9);
  EXPECT_EQ(run_kernels(empty, {}).gradients.grid, std::vector<float>(empty.grid.size()));
  const auto backend = make_test_backend({.guard_memory = true});
  const HexPlaneInput<double> input = random_input(empty.layout, 3, 9);
  const Tensor grid = upload(*backend, converted<float>(input.grid)),
               box = upload(*backend, converted<float>(input.box)),
               points = upload(*backend, converted<float>(input.points)),
               derivatives = upload(*backend, std::vector<float>(12, 1.0f));
  const Tensor time = upload(*backend, {0.5f});
  const auto context = backend->create_field_context({input.layout, {}});
  HexPlaneBackward field;
  field.forward.context = context.get();
  field.forward.count = 3;
  field.forward.grid = grid.data();
  field.forward.box = box.data();
  field.forward.points = points.data();
  field.forward.time = time.data();
  field.d_features = derivatives.data();
  backend->run(field);
}

// A backend may begin with a recorded backward pass before it has done what comes before: not where that
// changes what it reads.
TEST_P(HexPlaneTest, RecordedAmongOtherOperations) {
  const HexPlaneInput<double> input = at_one_time(random_input(make_hexplane_layout(16, 7, 5, 2), 300, 21));
  const auto backend = make_test_backend({.guard_memory = true});
  const size_t width = static_cast<size_t>(input.layout.feature_width());
  Philox random(22);
  const Tensor grid = upload(*backend, converted<float>(input.grid)),
               box = upload(*backend, converted<float>(input.box)),
               derivatives = upload(*backend, uniform_values(random, 300 * width, -1.0f, 1.0f)),
               time = upload(*backend, {0.3f}), other = upload(*backend, std::vector<float>(10));
  const auto context = backend->create_field_context({input.layout, {}});
  // Each in memory of its own, with which both ways begin.
  const auto gradients = [&](bool points_change, bool twice, bool recorded) {
    const Tensor points = upload(*backend, converted<float>(input.points)),
                 d_grid = upload(*backend, std::vector<float>(input.grid.size())),
                 d_points = upload(*backend, std::vector<float>(900)),
                 d_box = upload(*backend, std::vector<float>(6));
    HexPlaneBackward field;
    field.forward.context = context.get();
    field.forward.count = 300;
    field.forward.grid = grid.data();
    field.forward.box = box.data();
    field.forward.points = points.data();
    field.forward.time = time.data();
    field.d_features = derivatives.data();
    field.d_grid = d_grid.data();
    field.d_box = d_box.data();
    field.d_points = d_points.data();
    const auto work = [&] {
      backend->run(FillBytes{other.data(), 1, other.bytes()});
      if (points_change) backend->run(FillBytes{points.data() + 30, 0, 400 * sizeof(float)});
      backend->run(field);
      if (twice) backend->run(field);
    };
    const auto recording = recorded ? backend->record(work) : nullptr;
    for (int i = 0; i < 4; ++i) recorded ? backend->replay(*recording) : work();
    std::vector<float> all = d_grid.to_host();
    for (const Tensor& part : {d_points, d_box}) {
      const std::vector<float> values = part.to_host();
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  };
  for (const bool points_change : {false, true})
    for (const bool twice : {false, true})
      EXPECT_TRUE(same_bits(gradients(points_change, twice, true), gradients(points_change, twice, false)))
          << points_change << twice;
}

TEST_P(HexPlaneTest, NotANumberDoesNotCrash) {
  for_each_instruction_set([] {
    HexPlaneInput<double> input = random_input(make_hexplane_layout(4, 5, 5, 2), 40, 9);
    const Result sound = run_kernels(input, std::vector<double>(40 * 8, 1.0));
    const double nan = std::numeric_limits<double>::quiet_NaN(),
                 infinity = std::numeric_limits<double>::infinity();
    input.points[0] = nan;
    input.points[4] = infinity;
    input.points[8] = -infinity;
    input.points[10] = 1e38;
    std::vector<double> d_features(40 * 8, 1.0);
    d_features[9 * 8] = nan;
    // Points 0 to 3 are wrong, point 9 has a wrong gradient; the others do not notice.
    const Result wrong = run_kernels(input, d_features);
    ASSERT_EQ(wrong.features.size(), sound.features.size());
    for (size_t point = 4; point < 40; ++point) {
      for (size_t i = 8 * point; i < 8 * (point + 1); ++i)
        EXPECT_EQ(wrong.features[i], sound.features[i]) << point;
      if (point == 9) continue;
      for (size_t i = 3 * point; i < 3 * (point + 1); ++i)
        EXPECT_EQ(wrong.gradients.points[i], sound.gradients.points[i]) << point;
    }
    for (const double time : {nan, infinity, -infinity}) {
      input.times[0] = time;
      EXPECT_EQ(run_kernels(input, d_features).features.size(), sound.features.size());
    }
    input.grid[7] = nan;
    input.box[0] = input.box[3];  // an axis without extent: every coordinate on it is infinite or NaN
    const Result flat = run_kernels(input, d_features);
    EXPECT_EQ(flat.features.size(), sound.features.size());
    EXPECT_EQ(flat.gradients.grid.size(), sound.gradients.grid.size());
  });
}

TEST(HexPlaneOnCpu, SameBitsForAnyNumberOfThreads) {
  const HexPlaneInput<double> input = random_input(make_hexplane_layout(16, 16, 5, 2), 3000, 4);
  Philox random(8);
  const std::vector<double> d_features =
      uniform_values(random, 3000 * input.layout.feature_width(), -1.0, 1.0);
  EXPECT_TRUE(same_bits_for_any_thread_count([&] { return run_kernels(input, d_features).all(); }));
}

}  // namespace
}  // namespace eg4d::test
