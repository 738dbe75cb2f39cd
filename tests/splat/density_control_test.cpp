#include "splat/density_control.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "backend/backend.h"
#include "support/device_fixture.h"

namespace eg4d {
namespace {

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

EG4D_DEVICE_SUITE(DensityControlTest);

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
  EXPECT_EQ(prune_gaussians(g, {}), 6);
  EXPECT_EQ(g.values.positions.to_host(), (std::vector<float>{42, 0, 0}));
}

TEST_P(DensityControlTest, AQuaternionOfZerosTurnsNothing) {
  const auto backend = test::make_test_backend({.guard_memory = true});
  TrainedGaussians g = upright(*backend, 1);
  g.values.quaternions.fill_zero();
  float draw = 0;
  split_gaussians(g, {1}, 0.5f, 0.1f, [&] { return ++draw; });
  EXPECT_EQ(g.values.positions.to_host(), (std::vector<float>{1, 2, 3, 4, 5, 6}));
}

}  // namespace
}  // namespace eg4d
