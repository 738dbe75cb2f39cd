// The reference's gradients are the derivatives of its image: central differences in double.

#include <gtest/gtest.h>

#include <cmath>

#include "core/random.h"
#include "support/raster_scenes.h"
#include "support/reference_sh_color.h"

namespace eg4d::test {
namespace {

// A few soft, half-transparent Gaussians well inside the picture: no rule (1/255, 0.99, tangent clamp, stop)
// that has no derivative comes into play but at the rim.
RasterScene<double> smooth_scene() {
  RasterScene<float> scene = scattered_scene(12, 24, 20, 3);
  Philox random(5);
  for (size_t i = 0; i < 12; ++i) {
    const float z = 2 + random.uniform();
    scene.means[3 * i] = z * (0.5f * random.uniform() - 0.25f);
    scene.means[3 * i + 1] = z * (0.5f * random.uniform() - 0.25f);
    scene.means[3 * i + 2] = z;
    for (size_t axis = 0; axis < 3; ++axis) scene.scales[3 * i + axis] = 0.1f + 0.3f * random.uniform();
    scene.opacities[i] = 0.2f + 0.4f * random.uniform();
  }
  return converted<double>(scene);
}

std::vector<double> weights(size_t count) {
  Philox random(9);
  std::vector<double> values(count);
  for (double& value : values) value = random.uniform() - 0.5;
  return values;
}

struct Loss {
  std::vector<double> image;
  double operator()(const RasterScene<double>& scene) const {
    ReferenceRasterizer<double> rasterizer;
    rasterizer.forward(scene);
    double sum = 0;
    for (size_t i = 0; i < image.size(); ++i) sum += image[i] * rasterizer.image[i];
    return sum;
  }
};

// Compares d with the central differences of `loss` over `parameter`, a member of `scene`.
template <class Scene, class Evaluate>
void expect_derivative(Scene& scene, std::vector<double>& parameter, const std::vector<double>& d,
                       Evaluate&& loss, const char* what) {
  ASSERT_EQ(parameter.size(), d.size());
  double scale = 0;
  for (const double value : d) scale = std::max(scale, std::abs(value));
  for (size_t i = 0; i < parameter.size(); ++i) {
    constexpr double kStep = 1e-6;
    const double middle = parameter[i];
    parameter[i] = middle + kStep;
    const double above = loss(scene);
    parameter[i] = middle - kStep;
    const double below = loss(scene);
    parameter[i] = middle;
    EXPECT_NEAR((above - below) / (2 * kStep), d[i], 1e-5 * scale) << what << " " << i;
  }
}

TEST(ReferenceRasterizer, GradientsAreDerivatives) {
  RasterScene<double> scene = smooth_scene();
  const size_t pixels = static_cast<size_t>(scene.width) * scene.height;
  const Loss loss{weights(3 * pixels)};
  ReferenceRasterizer<double> rasterizer;
  rasterizer.forward(scene);
  const RasterGradients<double> d = rasterizer.backward(scene, loss.image);
  expect_derivative(scene, scene.means, d.means, loss, "mean");
  expect_derivative(scene, scene.scales, d.scales, loss, "scale");
  expect_derivative(scene, scene.rotations, d.rotations, loss, "rotation");
  expect_derivative(scene, scene.opacities, d.opacities, loss, "opacity");
  expect_derivative(scene, scene.colors, d.colors, loss, "color");
}

class ReferenceShColor : public testing::TestWithParam<int> {};

TEST_P(ReferenceShColor, GradientsAreDerivatives) {
  Philox random(11);
  ShScene<double> scene;
  scene.count = 5;
  scene.degree = GetParam();
  const auto fill = [&](std::vector<double>& values, size_t count, double scale) {
    for (size_t i = 0; i < count; ++i) values.push_back(scale * random.normal());
  };
  fill(scene.positions, 15, 1);
  fill(scene.sh_dc, 15, 0.3);
  fill(scene.sh_rest, 225, 0.2);
  fill(scene.gain_bias, 20, 0.3);
  scene.camera_center[2] = -3;
  const std::vector<double> d_colors = weights(15);
  const auto loss = [&](const ShScene<double>& at) {
    const std::vector<double> colors = reference_sh_color(at);
    double sum = 0;
    for (size_t i = 0; i < colors.size(); ++i) sum += d_colors[i] * colors[i];
    return sum;
  };
  const ShGradients<double> d = reference_sh_color_backward(scene, reference_sh_color(scene), d_colors);
  expect_derivative(scene, scene.positions, d.positions, loss, "position");
  expect_derivative(scene, scene.sh_dc, d.sh_dc, loss, "dc");
  expect_derivative(scene, scene.sh_rest, d.sh_rest, loss, "rest");
  expect_derivative(scene, scene.gain_bias, d.gain_bias, loss, "gain_bias");
}

INSTANTIATE_TEST_SUITE_P(Degrees, ReferenceShColor, testing::Range(0, 4));

}  // namespace
}  // namespace eg4d::test
