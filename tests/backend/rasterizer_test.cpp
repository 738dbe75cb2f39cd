// The kernels against the plain reference, on every instruction set this machine has.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "backend/cpu/testing.h"
#include "core/threads.h"
#include "random/random.h"
#include "support/device_fixture.h"
#include "support/golden.h"
#include "support/raster_scenes.h"

namespace eg4d::test {
namespace {

std::vector<float> weights(size_t count) {
  Philox random(21);
  std::vector<float> values(count);
  for (float& value : values) value = random.uniform() - 0.5f;
  return values;
}

size_t pixel_count(const RasterScene<float>& scene) {
  return static_cast<size_t>(scene.width) * static_cast<size_t>(scene.height);
}

// Pixels (all channels) that differ by more than 1e-4: rounding may flip a threshold in few of them.
size_t different_pixels(const std::vector<float>& a, const std::vector<float>& b, size_t channels) {
  size_t different = 0;
  for (size_t i = 0; i < a.size(); i += channels) {
    bool same = true;
    for (size_t k = i; k < i + channels; ++k)
      same &= std::abs(a[k] - b[k]) <= 1e-4f * std::max(1.0f, std::abs(b[k]));
    different += !same;
  }
  return different;
}

bool finite(const std::vector<float>& values) {
  return std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
}

class Rasterizer : public OnEachDevice {
 protected:
  void expect_like_reference(const RasterScene<float>& scene) {
    ReferenceRasterizer<float> reference;
    reference.forward(scene);
    DeviceRaster kernels(*backend, scene);
    kernels.forward();
    const size_t allowed = 1 + pixel_count(scene) / 2000;
    EXPECT_LE(different_pixels(kernels.image.to_host(), reference.image, 3), allowed);
    EXPECT_LE(different_pixels(kernels.depth.to_host(), reference.depth, 1), allowed);
    EXPECT_LE(different_pixels(kernels.alpha.to_host(), reference.alpha, 1), allowed);
    const std::vector<int32_t> radii = kernels.radii.to_host<int32_t>();
    int64_t other_radii = 0;
    for (size_t i = 0; i < radii.size(); ++i) {
      EXPECT_LE(std::abs(radii[i] - reference.radii[i]), 1) << i;
      other_radii += radii[i] != reference.radii[i];
    }
    EXPECT_LE(other_radii, 1 + scene.count / 1000);
    if (current_device().is_cpu()) {
      EXPECT_LE(cpu::pair_count(*kernels.context), reference.pair_count());
    }
    expect_gradients_like_reference(scene, kernels, reference);
  }

  void expect_gradients_like_reference(const RasterScene<float>& scene, DeviceRaster& kernels,
                                       const ReferenceRasterizer<float>& reference) {
    // Pixels where a threshold flipped get no gradient.
    std::vector<float> d_image = weights(3 * pixel_count(scene));
    const std::vector<float> alpha = kernels.alpha.to_host();
    for (size_t i = 0; i < alpha.size(); ++i)
      if (std::abs(alpha[i] - reference.alpha[i]) > 1e-6f)
        d_image[3 * i] = d_image[3 * i + 1] = d_image[3 * i + 2] = 0;
    // In double, because the sums of a float reference are no better than the kernels'.
    const RasterScene<double> exact = converted<double>(scene);
    ReferenceRasterizer<double> precise;
    precise.forward(exact);
    for (size_t i = 0; i < alpha.size(); ++i)
      if (std::abs(alpha[i] - precise.alpha[i]) > 1e-6)
        d_image[3 * i] = d_image[3 * i + 1] = d_image[3 * i + 2] = 0;
    const RasterGradients<double> want = precise.backward(exact, {d_image.begin(), d_image.end()});
    kernels.backward(d_image);
    const RasterGradients<float> got = kernels.gradients();
    const auto compare = [](const std::vector<float>& a, const std::vector<double>& b, const char* what) {
      EXPECT_LE(relative_error(a, std::vector<float>(b.begin(), b.end())), 1e-3) << what;
    };
    compare(got.means, want.means, "means");
    compare(got.scales, want.scales, "scales");
    compare(got.rotations, want.rotations, "rotations");
    compare(got.opacities, want.opacities, "opacities");
    compare(got.colors, want.colors, "colors");
    compare(got.means_ndc, want.means_ndc, "means_ndc");
  }

  std::unique_ptr<Backend> backend = make_test_backend({.guard_memory = true});
};

TEST_P(Rasterizer, ScatteredScenesOfOddSizes) {
  const int sizes[][2] = {{1, 1}, {97, 61}, {31, 17}, {16, 16}, {33, 80}};
  uint64_t seed = 0;
  for (const auto& [width, height] : sizes) {
    SCOPED_TRACE(testing::Message() << width << "x" << height);
    expect_like_reference(scattered_scene(300, width, height, ++seed));
  }
}

TEST_P(Rasterizer, AnyNumberOfGaussians) {
  for (const int64_t count : {0, 1, 2, 15, 31, 65}) {
    SCOPED_TRACE(count);
    expect_like_reference(scattered_scene(count, 40, 30, 40 + count));
  }
}

TEST_P(Rasterizer, MoreGaussiansInATileThanABatchHolds) {
  RasterScene<float> scene = scattered_scene(1500, 20, 20, 5);
  for (float& opacity : scene.opacities) opacity *= 0.02f;
  expect_like_reference(scene);
}

TEST_P(Rasterizer, EqualDepthsKeepTheirOrder) {
  RasterScene<float> scene = scattered_scene(40, 32, 32, 12);
  for (int64_t i = 0; i < scene.count; ++i) {
    scene.means[3 * i] *= 0.1f;
    scene.means[3 * i + 1] *= 0.1f;
    scene.means[3 * i + 2] = 2;
  }
  expect_like_reference(scene);
}

TEST_P(Rasterizer, EverythingBehindTheCameraLeavesTheBackground) {
  RasterScene<float> scene = scattered_scene(50, 20, 12, 3);
  for (int64_t i = 0; i < scene.count; ++i) scene.means[3 * i + 2] = -1 - static_cast<float>(i);
  DeviceRaster kernels(*backend, scene);
  kernels.forward();
  const std::vector<float> image = kernels.image.to_host();
  for (size_t i = 0; i < image.size(); ++i) EXPECT_EQ(image[i], scene.camera.background[i % 3]);
  if (current_device().is_cpu()) {
    EXPECT_EQ(cpu::pair_count(*kernels.context), 0);
  }
  kernels.backward(weights(3 * pixel_count(scene)));
  EXPECT_EQ(kernels.gradients().means, std::vector<float>(150, 0.0f));
}

TEST_P(Rasterizer, GaussiansThatAreNotFiniteAreLeftOut) {
  RasterScene<float> scene = scattered_scene(64, 45, 37, 8), rest = scene;
  const float bad[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                       -std::numeric_limits<float>::infinity(), 3e38f};
  for (size_t i = 0; i < 32; ++i) {
    rest.opacities[i] = 0;
    const float value = bad[i % 4];
    switch (i / 4) {
      case 0:
        scene.means[3 * i] = value;
        break;
      case 1:
        scene.means[3 * i + 2] = value == 3e38f ? bad[0] : value;
        break;
      case 2:
        scene.scales[3 * i + 1] = value;
        break;
      case 3:
        scene.rotations[4 * i] = value;
        break;
      case 4:
        scene.opacities[i] = value == 3e38f ? bad[0] : value;
        break;
      case 5:
        scene.colors[3 * i] = value == 3e38f ? bad[1] : value;
        break;
      case 6:
        scene.means[3 * i + 1] = value;
        break;
      default:
        scene.scales[3 * i] = scene.scales[3 * i + 2] = value;
    }
  }
  DeviceRaster kernels(*backend, scene), others(*backend, rest);
  kernels.forward();
  others.forward();
  EXPECT_EQ(kernels.image.to_host(), others.image.to_host());
  EXPECT_EQ(kernels.depth.to_host(), others.depth.to_host());
  kernels.backward(weights(3 * pixel_count(scene)));
  EXPECT_TRUE(finite(kernels.gradients().means));
  EXPECT_TRUE(finite(kernels.gradients().scales));
  EXPECT_TRUE(finite(kernels.gradients().rotations));
}

TEST_P(Rasterizer, ExtremeScalesStayFinite) {
  RasterScene<float> scene = scattered_scene(120, 64, 48, 14);
  const float sizes[] = {0, 1e-20f, 1e-6f, 10, 1e4f, 1e9f};
  for (size_t i = 0; i < 120; ++i)
    for (size_t axis = 0; axis < 3; ++axis) scene.scales[3 * i + axis] = sizes[(i >> axis) % 6];
  DeviceRaster kernels(*backend, scene);
  kernels.forward();
  EXPECT_TRUE(finite(kernels.image.to_host()));
  kernels.backward(weights(3 * pixel_count(scene)));
  EXPECT_TRUE(finite(kernels.gradients().means));
  EXPECT_TRUE(finite(kernels.gradients().opacities));
}

TEST_P(Rasterizer, SameBitsForAnyNumberOfThreads) {
  EG4D_TEST_OF_THE_PROCESSOR();
  const RasterScene<float> scene = scattered_scene(9000, 120, 90, 30);
  const std::vector<float> d_image = weights(3 * pixel_count(scene));
  const int before = thread_count();
  std::vector<float> image;
  RasterGradients<float> first;
  for (const int threads : {1, 2, 3}) {
    set_thread_count(threads);
    DeviceRaster kernels(*backend, scene);
    kernels.forward();
    kernels.backward(d_image);
    const RasterGradients<float> d = kernels.gradients();
    if (threads == 1) {
      image = kernels.image.to_host();
      first = d;
    }
    EXPECT_EQ(kernels.image.to_host(), image);
    EXPECT_EQ(d.means, first.means);
    EXPECT_EQ(d.scales, first.scales);
    EXPECT_EQ(d.rotations, first.rotations);
    EXPECT_EQ(d.opacities, first.opacities);
    EXPECT_EQ(d.colors, first.colors);
    EXPECT_EQ(d.means_ndc, first.means_ndc);
  }
  set_thread_count(before);
}

TEST_P(Rasterizer, ContextsAreReusedAndGradientsAccumulate) {
  const RasterScene<float> large = scattered_scene(200, 90, 70, 31), small = scattered_scene(20, 30, 20, 32);
  DeviceRaster a(*backend, large), b(*backend, small), fresh(*backend, small);
  b.arguments.context = a.context.get();
  a.forward();
  b.forward();
  fresh.forward();
  EXPECT_EQ(b.image.to_host(), fresh.image.to_host());
  const std::vector<float> d_image = weights(3 * pixel_count(small));
  b.backward(d_image);
  fresh.backward(d_image);
  EXPECT_EQ(b.gradients().means, fresh.gradients().means);
  // Null gradients are skipped, others are added to.
  const Tensor upstream = Tensor::from_host(*backend, {20, 30, 3}, d_image);
  RasterizeBackward again;
  again.forward = fresh.arguments;
  again.d_image = upstream.data();
  again.d_colors = fresh.d_colors.data();
  const std::vector<float> once = fresh.gradients().colors;
  backend->run(again);
  const std::vector<float> twice = fresh.gradients().colors;
  for (size_t i = 0; i < once.size(); ++i) EXPECT_FLOAT_EQ(twice[i], 2 * once[i]);
}

// How many pairs of Gaussian and tile there are changes from replay to replay, and a device may have to make
// room for them.
TEST_P(Rasterizer, ARecordingHasRoomForAnyNumberOfPairs) {
  RasterScene<float> scene = scattered_scene(4000, 120, 90, 33);
  for (float& opacity : scene.opacities) opacity *= 0.05f;
  const std::vector<float> scales = scene.scales, d_image = weights(3 * pixel_count(scene));
  DeviceRaster replayed(*backend, scene);
  replayed.prepare_backward(d_image);
  const auto forward = backend->record([&] { replayed.forward(); });
  const auto both = backend->record([&] {
    replayed.forward();
    replayed.run_backward();
    replayed.forward();  // of the same context, before anything was read
    replayed.run_backward();
  });
  const auto backward = backend->record([&] { replayed.run_backward(); });
  for (const float factor : {0.1f, 0.1f, 0.12f, 1.0f, 1.0f, 5.0f, 5.0f, 5.0f, 0.05f, 0.05f, 2.0f}) {
    SCOPED_TRACE(factor);
    for (size_t i = 0; i < scales.size(); ++i) scene.scales[i] = factor * scales[i];
    backend->copy_to_device(const_cast<float*>(replayed.arguments.scales), scene.scales.data(),
                            scene.scales.size() * sizeof(float));
    DeviceRaster direct(*backend, scene);
    direct.forward();
    direct.backward(d_image);
    const std::vector<float> wanted = direct.gradients().colors;
    for (const bool in_two : {false, true}) {
      for (Tensor* tensor : {&replayed.d_means, &replayed.d_colors, &replayed.image}) tensor->fill_zero();
      backend->replay(in_two ? *forward : *both);
      if (in_two) backend->replay(*backward);
      EXPECT_EQ(replayed.image.to_host(), direct.image.to_host());
      std::vector<float> have = replayed.d_colors.to_host();
      if (!in_two)
        for (float& value : have) value /= 2;
      EXPECT_EQ(have, wanted);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, Rasterizer, testing::ValuesIn(test_devices_by_instruction_set()), DeviceLabel());

}  // namespace
}  // namespace eg4d::test
