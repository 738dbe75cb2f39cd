#include "splat/density_control.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/counting_backend.h"
#include "support/device_fixture.h"
#include "support/random_values.h"
#include "support/reference_density.h"

namespace eg4d {
namespace {

using test::download;
using test::HostGaussians;
using test::random_gaussians;
using test::rules_for_random_gaussians;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Opaque Gaussians of size 1 at the origin that are not turned.
TrainedGaussians upright(Backend& backend, int64_t count) {
  TrainedGaussians g(Gaussians::zeros(backend, count));
  std::vector<float> quaternions(static_cast<size_t>(4 * count));
  for (size_t i = 0; i < quaternions.size(); i += 4) quaternions[i] = 1;
  g.values.quaternions.copy_from_host(quaternions.data(), g.values.quaternions.bytes());
  return g;
}

void set(Tensor& tensor, size_t index, float value) {
  std::vector<float> values = tensor.to_host();
  values.at(index) = value;
  tensor.copy_from_host(values.data(), tensor.bytes());
}

std::vector<float> everything(const TrainedGaussians& g) {
  std::vector<float> all;
  HostGaussians host = download(g);
  for (const HostGaussians::Rows* rows : host.tensors())
    for (const auto& row : *rows) all.insert(all.end(), row.begin(), row.end());
  return all;
}

// Positions and scales of split Gaussians differ by rounding, everything else not at all.
void expect_equal(HostGaussians have, HostGaussians want) {
  ASSERT_EQ(have.count(), want.count());
  const auto have_tensors = have.tensors(), want_tensors = want.tensors();
  for (size_t t = 0; t < have_tensors.size(); ++t) {
    const bool rounded = have_tensors[t] == &have.values[0] || have_tensors[t] == &have.values[3];
    for (size_t i = 0; i < have.count(); ++i) {
      const auto &a = (*have_tensors[t])[i], &b = (*want_tensors[t])[i];
      if (test::same_bits(a, b)) continue;
      for (size_t k = 0; k < a.size(); ++k)
        ASSERT_NEAR(a[k], b[k], rounded ? 1e-6 : 0) << "tensor " << t << " row " << i;
    }
  }
}

EG4D_DEVICE_SUITE(DensityControlTest);

TEST_P(DensityControlTest, DoesWhatThePlainVersionDoes) {
  const auto backend = test::make_test_backend({.guard_memory = true});
  for (const int64_t count : {0, 1, 2, 31, 300, 20000})
    for (const bool grow : {false, true})
      for (const bool prune : {false, true})
        for (const int how : {0, 1, 2, 3}) {
          const bool by_size = how & 1, by_importance = how & 2;
          SCOPED_TRACE(testing::Message()
                       << count << (grow ? " grow" : "") << (prune ? " prune" : "")
                       << (by_size ? " by size" : "") << (by_importance ? " by importance" : ""));
          if (!prune && by_size) continue;
          TrainedGaussians g = random_gaussians(*backend, count, static_cast<uint64_t>(count), by_importance);
          DensityRules rules = rules_for_random_gaussians();
          rules.grow = grow;
          rules.prune = prune;
          rules.by_size = by_size;
          HostGaussians wanted = download(g);
          test::reference_density_control(wanted, rules, test::split_normals(rules));
          const DensityChange change = control_density(g, rules);
          expect_equal(download(g), wanted);
          EXPECT_EQ(g.count(), count + change.cloned + change.split - change.removed);
          if (count < 300) continue;
          EXPECT_EQ(change.cloned > 0, grow);
          EXPECT_EQ(change.split > 0, grow);
          EXPECT_EQ(change.removed > 0, prune);
        }
}

// Several events in the same memory.
TEST_P(DensityControlTest, GoesOnFromWhatItMade) {
  const auto backend = test::make_test_backend({.guard_memory = true});
  TrainedGaussians g = random_gaussians(*backend, 500, 3);
  HostGaussians wanted = download(g);
  DensityRules rules = rules_for_random_gaussians();
  rules.by_size = false;
  for (int event = 0; event < 6; ++event) {
    rules.grow = event % 3 != 1;
    rules.prune = event % 3 != 0;
    rules.stream = static_cast<uint64_t>(event);
    // Statistics as after some pictures.
    const std::vector<float> ones(static_cast<size_t>(g.count()), 1.0f);
    Philox random(9, rules.stream);
    const std::vector<float> gradients = test::uniform_values(random, g.count(), 0.0f, 0.4f);
    g.views.copy_from_host(ones.data(), g.views.bytes());
    g.gradient_sum.copy_from_host(gradients.data(), g.gradient_sum.bytes());
    wanted.views = download(g).views;
    wanted.gradient_sum = download(g).gradient_sum;
    control_density(g, rules);
    test::reference_density_control(wanted, rules, test::split_normals(rules));
    SCOPED_TRACE(event);
    expect_equal(download(g), wanted);
    wanted = download(g);  // roundings do not add up
  }
  EXPECT_GT(g.count(), 500);
}

TEST(DensityControlOnCpu, SameBitsForAnyNumberOfThreads) {
  EXPECT_TRUE(test::same_bits_for_any_thread_count([] {
    const auto backend = test::make_test_backend();
    TrainedGaussians g = random_gaussians(*backend, 30000, 5);
    DensityRules rules = rules_for_random_gaussians();
    rules.grow = rules.prune = true;
    control_density(g, rules);
    reset_opacity(g, 0.2f);
    return everything(g);
  }));
}

TEST_P(DensityControlTest, AnEventIsOneReadAndNoMemoryWhereThereIsRoom) {
  test::CountingBackend backend;
  TrainedGaussians g = random_gaussians(backend, 1000, 5);
  DensityRules rules = rules_for_random_gaussians();
  rules.grow = true;
  control_density(g, rules);
  EXPECT_GT(g.count(), 1000);
  for (int event = 0; event < 4; ++event) {
    rules.grow = event % 2 == 0;
    rules.prune = event % 2 == 1;
    const std::vector<float> seen(static_cast<size_t>(g.count()), 1.0f);
    g.views.copy_from_host(seen.data(), g.views.bytes());
    for (const int64_t i : {int64_t{3}, g.count() - 1}) {
      set(g.gradient_sum, static_cast<size_t>(i), 1.0f);
      set(g.values.opacity_logits, static_cast<size_t>(i), event == 3 ? -20.0f : 0.0f);
    }
    backend.take();
    const DensityChange change = control_density(g, rules);
    const test::CountingBackend::Counts counts = backend.take();
    EXPECT_GT(change.cloned + change.split + change.removed, 0) << event;
    EXPECT_EQ(counts.copies_to_host, 1) << event;
    EXPECT_EQ(counts.bytes_to_host, 12) << event;
    EXPECT_EQ(counts.copies_to_device, 0) << event;
    EXPECT_EQ(counts.allocations, 0) << event;
  }
  backend.take();
  reset_opacity(g, 0.01f);
  const test::CountingBackend::Counts counts = backend.take();
  EXPECT_EQ(counts.copies_to_host + counts.copies_to_device + counts.allocations, 0);
}

TEST_P(DensityControlTest, WithNothingSelectedNothingMoves) {
  test::CountingBackend backend;
  TrainedGaussians g = upright(backend, 31);
  g.max_radii.copy_from_host(std::vector<float>(31, 5.0f).data(), g.max_radii.bytes());
  DensityRules rules;
  rules.grow = rules.prune = true;
  rules.gradient = 1;
  rules.dense_scale = 1;
  const void* positions = g.values.positions.raw();
  control_density(g, rules);
  EXPECT_EQ(backend.take().calls.count("gather rows"), 0u);
  EXPECT_EQ(g.values.positions.raw(), positions);
  EXPECT_EQ(g.count(), 31);
  EXPECT_EQ(g.max_radii.to_host(), std::vector<float>(31));  // growing resets the statistics all the same
}

TEST_P(DensityControlTest, PruningRemovesWhatIsNotANumber) {
  const auto backend = test::make_test_backend({.guard_memory = true});
  TrainedGaussians g = upright(*backend, 7);
  set(g.values.opacity_logits, 0, kNaN);
  set(g.values.opacity_logits, 1, std::numeric_limits<float>::infinity());
  set(g.values.positions, 2 * 3 + 1, kNaN);
  set(g.values.log_scales, 3 * 3 + 2, kNaN);
  set(g.values.quaternions, 4 * 4 + 3, kNaN);
  set(g.values.opacity_logits, 5, -20);  // too faint
  set(g.values.positions, 6 * 3, 42);
  EXPECT_EQ(control_density(g, {.prune = true}).removed, 6);
  EXPECT_EQ(g.values.positions.to_host(), (std::vector<float>{42, 0, 0}));
}

TEST_P(DensityControlTest, TheLastGaussianStays) {
  const auto backend = test::make_test_backend({.guard_memory = true});
  for (const int64_t count : {1, 31, 10000}) {
    TrainedGaussians g = upright(*backend, count);
    const std::vector<float> faint(static_cast<size_t>(count), -20.0f);
    g.values.opacity_logits.copy_from_host(faint.data(), g.values.opacity_logits.bytes());
    set(g.values.positions, 0, 42);
    set(g.first_moments.positions, 0, 7);
    EXPECT_EQ(control_density(g, {.prune = true}).removed, count - 1);
    EXPECT_EQ(g.values.positions.to_host(), (std::vector<float>{42, 0, 0}));
    EXPECT_EQ(g.first_moments.positions.to_host(), (std::vector<float>{7, 0, 0}));
  }
}

// Limits are compared with the stored numbers: one step of a float decides.
TEST_P(DensityControlTest, DecisionsHangOnStoredNumbersAlone) {
  const auto backend = test::make_test_backend({.guard_memory = true});
  const float size = std::log(0.07f), logit = static_cast<float>(std::log(0.005f / (1 - double{0.005f})));
  TrainedGaussians g = upright(*backend, 4);
  const std::vector<float> logits{logit, std::nextafter(logit, -100.0f), 0, 0};
  g.values.opacity_logits.copy_from_host(logits.data(), g.values.opacity_logits.bytes());
  std::vector<float> scales(12, -9.0f);
  scales[3 * 2] = size;
  scales[3 * 3 + 2] = std::nextafter(size, 0.0f);
  g.values.log_scales.copy_from_host(scales.data(), g.values.log_scales.bytes());
  g.gradient_sum.copy_from_host(std::vector<float>{0, 0, 3, 3}.data(), 16);
  g.views.copy_from_host(std::vector<float>{0, 0, 2, 2}.data(), 16);
  const DensityChange change =
      control_density(g, {.grow = true, .gradient = 1.5f, .dense_scale = 0.07f, .prune = true});
  EXPECT_EQ(change.removed, 1);  // the second
  EXPECT_EQ(change.cloned, 1);   // the third
  EXPECT_EQ(change.split, 1);    // the fourth
  const std::vector<float> after = g.values.log_scales.to_host();
  EXPECT_EQ(after.size(), 5u * 3);  // first, third, its copy, two parts
  EXPECT_EQ(after[3 * 1], size);
  EXPECT_EQ(after[3 * 2], size);
  EXPECT_EQ(after[3 * 4 + 2], std::nextafter(size, 0.0f) - kSplitLogScale);
}

TEST_P(DensityControlTest, OpacityIsResetToALimit) {
  const auto backend = test::make_test_backend({.guard_memory = true});
  TrainedGaussians g = upright(*backend, 4);
  const std::vector<float> logits{3, -6, kNaN, std::numeric_limits<float>::infinity()};
  g.values.opacity_logits.copy_from_host(logits.data(), g.values.opacity_logits.bytes());
  set(g.first_moments.opacity_logits, 1, 1);
  set(g.second_moments.opacity_logits, 1, 1);
  reset_opacity(g, 0.01f);
  const std::vector<float> after = g.values.opacity_logits.to_host();
  const float limit = std::log(0.01f / 0.99f);
  EXPECT_FLOAT_EQ(after[0], limit);
  EXPECT_EQ(after[1], -6);
  EXPECT_TRUE(std::isnan(after[2]));
  EXPECT_FLOAT_EQ(after[3], limit);
  EXPECT_EQ(g.first_moments.opacity_logits.to_host(), std::vector<float>(4));
  EXPECT_EQ(g.second_moments.opacity_logits.to_host(), std::vector<float>(4));
  reset_opacity(g, 1);  // no limit
  EXPECT_EQ(g.values.opacity_logits.to_host()[1], -6);
}

}  // namespace
}  // namespace eg4d
