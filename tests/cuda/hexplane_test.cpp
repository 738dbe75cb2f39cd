// The GPU's hexplane against the CPU's, and its Adam against the definitions.

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "backend/cpu/memory.h"
#include "backend/cpu/splat_kernels.h"
#include "backend/cuda/splat_kernels.h"
#include "cuda/support/description_alone.h"
#include "cuda/support/device.h"
#include "random/random.h"
#include "support/golden.h"
#include "support/random_values.h"
#include "support/reference_hexplane.h"
#include "support/reference_training.h"

namespace eg4d::test {
namespace {

using Values = std::vector<float>;

// The published field in small, one of odd sizes, one of single texels, one with more channels than a block
// has threads.
std::vector<HexPlaneLayout> layouts() {
  return {make_hexplane_layout(32, 16, 25, 4), make_hexplane_layout(8, 6, 5, 2),
          make_hexplane_layout(3, {{1, 2, 3, 1}, {5, 4, 7, 2}}), make_hexplane_layout(33, {{30, 4, 3, 5}}),
          make_hexplane_layout(320, {{9, 8, 7, 6}, {3, 3, 3, 3}})};
}

// One field with its gradients on both sides.
struct Fields {
  Fields(const HexPlaneLayout& layout, int64_t count, uint64_t seed) : layout(layout), count(count) {
    Philox random(seed);
    const auto draw = [&](int64_t n, float low, float high) {
      return uniform_values<float>(random, n, low, high);
    };
    const int64_t width = layout.feature_width();
    host = {draw(layout.size(), 0.1f, 1.5f),
            {1, 1.5f, 2, -1, -1.25f, -1.5f},
            draw(3 * count, -1.8f, 1.8f),
            draw(1, -0.2f, 1.1f),
            draw(count * width, -1, 1)};
    for (int64_t i = 0; i < count; i += 3)  // seen by no pixel
      for (int64_t c = 0; c < width; ++c) host.d_features[static_cast<size_t>(i * width + c)] = 0;
    Philox more(seed, 1);
    gradients = {uniform_values<float>(more, layout.size(), -1, 1), uniform_values<float>(more, 6, -1, 1),
                 uniform_values<float>(more, 3 * count, -1, 1)};
  }

  struct Inputs {
    Values grid, box, points, time, d_features;
  };
  struct Gradients {
    Values grid, box, points;
  };

  HexPlaneLayout layout;
  int64_t count;
  Inputs host;
  Gradients gradients;
};

struct Result {
  Values features;
  Fields::Gradients gradients;
};

Result on_cpu(const Fields& fields) {
  Result r;
  r.features.resize(static_cast<size_t>(fields.count * fields.layout.feature_width()));
  r.gradients = fields.gradients;
  const Fields::Inputs& in = fields.host;
  cpu::Memory memory(false);
  const auto context = cpu::create_field_context(memory, {fields.layout, {}});
  HexPlaneBackward b{.forward = {context.get(), fields.count, in.grid.data(), in.box.data(), in.points.data(),
                                 in.time.data(), r.features.data()},
                     .d_features = in.d_features.data(),
                     .d_grid = r.gradients.grid.data(),
                     .d_box = r.gradients.box.data(),
                     .d_points = r.gradients.points.data()};
  cpu::hexplane_forward(b.forward);
  cpu::hexplane_backward(b);
  return r;
}

Result on_gpu(const Fields& fields) {
  const Fields::Inputs& in = fields.host;
  const DeviceBuffer<float> grid(in.grid), box(in.box), points(in.points), d_features(in.d_features),
      time(in.time);
  const DeviceBuffer<float> features(fields.count * fields.layout.feature_width()),
      d_grid(fields.gradients.grid), d_box(fields.gradients.box), d_points(fields.gradients.points);
  const DeviceBuffer<uint8_t> workspace(
      static_cast<int64_t>(cuda::hexplane_backward_workspace_bytes(fields.layout, fields.count)));
  DescriptionAlone context({fields.layout, {}});
  const HexPlaneBackward b{.forward = {&context, fields.count, grid.data(), box.data(), points.data(),
                                       time.data(), features.data()},
                           .d_features = d_features.data(),
                           .d_grid = d_grid.data(),
                           .d_box = d_box.data(),
                           .d_points = d_points.data()};
  cuda::hexplane_forward(b.forward, nullptr);
  cuda::hexplane_backward(b, workspace.data(), nullptr);
  return {features.to_host(), {d_grid.to_host(), d_box.to_host(), d_points.to_host()}};
}

TEST(CudaHexPlane, ForwardAndBackwardLikeTheCpu) {
  EG4D_NEEDS_GPU();
  uint64_t seed = 1;
  for (const HexPlaneLayout& layout : layouts()) {
    for (const int64_t count : {0, 1, 31, 257, 3000}) {
      SCOPED_TRACE(testing::Message() << layout.channels << " channels, " << layout.levels() << " levels, "
                                      << count << " points");
      const Fields fields(layout, count, ++seed);
      const Result want = on_cpu(fields), got = on_gpu(fields);
      EXPECT_LE(relative_error(got.features, want.features), 1e-6);
      EXPECT_LE(relative_error(got.gradients.grid, want.gradients.grid), 1e-5);
      EXPECT_LE(relative_error(got.gradients.box, want.gradients.box), 1e-4);
      EXPECT_LE(relative_error(got.gradients.points, want.gradients.points), 1e-5);
    }
  }
}

TEST(CudaHexPlane, NotANumberIsACornerAndNothingIsWrittenOutside) {
  EG4D_NEEDS_GPU();
  Fields fields(make_hexplane_layout(4, 5, 3, 2), 40, 9);
  const float bad[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                       -1e38f};
  for (size_t i = 0; i < 30; ++i) fields.host.points[i] = bad[i % 3];
  const Result want = on_cpu(fields), got = on_gpu(fields);
  EXPECT_LE(relative_error(got.features, want.features), 1e-6);
  EXPECT_LE(relative_error(got.gradients.grid, want.gradients.grid), 1e-5);
}

void expect_gradients_like_cpu(const Fields& fields) {
  const Result want = on_cpu(fields), got = on_gpu(fields);
  EXPECT_LE(relative_error(got.gradients.grid, want.gradients.grid), 1e-5);
  EXPECT_LE(relative_error(got.gradients.box, want.gradients.box), 1e-4);
  EXPECT_LE(relative_error(got.gradients.points, want.gradients.points), 1e-5);
}

// Blocks divide the list of pairs wherever their number says: in the midst of a texel's pairs, between
// neighbours, behind the last texel of a plane.
TEST(CudaHexPlane, WhereverBlocksDivideThePairs) {
  EG4D_NEEDS_GPU();
  uint64_t seed = 40;
  for (const HexPlaneLayout& layout :
       {make_hexplane_layout(32, {{4, 4, 4, 3}}), make_hexplane_layout(16, {{5, 1, 3, 2}, {2, 2, 2, 2}})})
    for (const int64_t count : {42, 43, 64, 85, 86, 128, 129, 300, 1000})
      for (const float spread : {0.0f, 0.3f, 1.0f})
        for (const float middle : {-1.0f, 0.11f, 1.3f}) {
          SCOPED_TRACE(testing::Message() << layout.channels << " channels, " << count << " points within "
                                          << spread << " of " << middle);
          Fields fields(layout, count, ++seed);
          for (float& position : fields.host.points) position = middle + spread * position;
          expect_gradients_like_cpu(fields);
        }
}

TEST(CudaHexPlane, DerivativesOnSomeLevelsAlone) {
  EG4D_NEEDS_GPU();
  Fields fields(make_hexplane_layout(32, 16, 25, 4), 1500, 12);
  const auto width = static_cast<size_t>(fields.layout.feature_width());
  for (size_t i = 0; i < fields.host.d_features.size(); ++i)
    if ((i / width + i % width / 32) % 3 == 0) fields.host.d_features[i] = 0;
  expect_gradients_like_cpu(fields);
}

TEST(CudaHexPlane, HugeCoordinatesAreTheBorder) {
  EG4D_NEEDS_GPU();
  Fields fields(make_hexplane_layout(32, 16, 25, 2), 500, 13);
  const float huge[] = {1e30f, -1e30f, 3e20f, 1e6f};
  for (size_t i = 0; i < 600; ++i) fields.host.points[i] = huge[i % 7 % 4];
  expect_gradients_like_cpu(fields);
}

// Long lists of one texel, tiles of one column, and nothing at all.
TEST(CudaHexPlane, CrowdsLinesAndNobody) {
  EG4D_NEEDS_GPU();
  const Fields scattered(make_hexplane_layout(32, 16, 25, 4), 2500, 11);
  Fields crowd = scattered, line = scattered, nobody = scattered;
  for (float& position : crowd.host.points) position = 0.11f + 1e-4f * position;
  for (size_t i = 0; i < line.host.points.size(); i += 3)
    line.host.points[i] = line.host.points[i + 2] = 0.3f;
  expect_gradients_like_cpu(crowd);
  expect_gradients_like_cpu(line);
  std::ranges::fill(nobody.host.d_features, 0.0f);
  const Result got = on_gpu(nobody);
  EXPECT_EQ(got.gradients.grid, nobody.gradients.grid);
  EXPECT_EQ(got.gradients.box, nobody.gradients.box);
  EXPECT_EQ(got.gradients.points, nobody.gradients.points);
}

TEST(CudaHexPlane, SameBitsFromRunToRun) {
  EG4D_NEEDS_GPU();
  const Fields fields(make_hexplane_layout(32, 16, 25, 4), 5000, 10);
  const Result first = on_gpu(fields);
  for (int run = 0; run < 3; ++run) {
    const Result again = on_gpu(fields);
    EXPECT_TRUE(same_bits(again.features, first.features));
    EXPECT_TRUE(same_bits(again.gradients.grid, first.gradients.grid));
    EXPECT_TRUE(same_bits(again.gradients.box, first.gradients.box));
    EXPECT_TRUE(same_bits(again.gradients.points, first.gradients.points));
  }
}

TEST(CudaHexPlaneAdam, MatchesRegularizationThenAdam) {
  EG4D_NEEDS_GPU();
  for (const HexPlaneLayout& layout : layouts()) {
    const DescriptionAlone context({layout, {}});
    for (const RegularizationWeights& weights :
         {RegularizationWeights{0.7, 0.3, 0.05}, RegularizationWeights{0, 0, 0},
          RegularizationWeights{0, 0.2, 0}}) {
      Philox random(4);
      const Values start = uniform_values(random, layout.size(), 0.5f, 1.5f);
      std::vector<double> grid = converted<double>(start), first(grid.size()), second(grid.size());
      const DeviceBuffer<float> parameter(start), device_first = DeviceBuffer<float>::zeros(layout.size()),
                                                  device_second = DeviceBuffer<float>::zeros(layout.size());
      for (int64_t step = 1; step <= 5; ++step) {
        Values given = uniform_values(random, layout.size(), -1.0f, 1.0f);
        for (size_t i = 0; i < given.size(); i += 3) given[i] = 0;
        const DeviceBuffer<float> gradient(given);
        const DeviceBuffer<AdamRate> rate(std::vector<AdamRate>{adam_rate(0.01, step)});
        HexPlaneAdam a;
        a.context = &context;
        a.plane_smoothness = static_cast<float>(weights.plane);
        a.time_smoothness = static_cast<float>(weights.time);
        a.time_l1 = static_cast<float>(weights.l1);
        a.adam = {.count = layout.size(),
                  .parameter = parameter.data(),
                  .gradient = gradient.data(),
                  .first_moment = device_first.data(),
                  .second_moment = device_second.data(),
                  .rate = rate.data()};
        cuda::hexplane_adam(a, nullptr);
        EXPECT_EQ(gradient.to_host(), Values(given.size())) << "the gradient is zeroed";
        std::vector<double> wanted = converted<double>(given);
        reference_regularization(layout, grid, weights, &wanted);
        reference_adam(grid, wanted, first, second, step, 0.01);
      }
      EXPECT_LE(relative_error(parameter.to_host(), converted<float>(grid)), 1e-5);
      EXPECT_LE(relative_error(device_second.to_host(), converted<float>(second)), 1e-5);
    }
  }
}

}  // namespace
}  // namespace eg4d::test
