// The GPU's rasteriser against the plain reference and the CPU's kernels.

#include "backend/cuda/rasterizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "backend/cpu/memory.h"
#include "backend/cpu/splat_kernels.h"
#include "cuda/support/cuda_raster.h"
#include "random/random.h"
#include "support/golden.h"
#include "support/random_values.h"
#include "support/raster_scenes.h"

namespace eg4d::test {
namespace {

size_t pixel_count(const RasterScene<float>& scene) {
  return static_cast<size_t>(scene.width) * static_cast<size_t>(scene.height);
}

std::vector<float> weights(size_t count) {
  Philox random(21);
  return uniform_values<float>(random, static_cast<int64_t>(count), -0.5f, 0.5f);
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

void expect_close(const std::vector<float>& a, const std::vector<float>& b, double limit, const char* what) {
  EXPECT_LE(relative_error(a, b), limit) << what;
}
void expect_close(const RasterGradients<float>& a, const RasterGradients<float>& b, double limit) {
  expect_close(a.means, b.means, limit, "means");
  expect_close(a.scales, b.scales, limit, "scales");
  expect_close(a.rotations, b.rotations, limit, "rotations");
  expect_close(a.opacities, b.opacities, limit, "opacities");
  expect_close(a.colors, b.colors, limit, "colors");
  expect_close(a.means_ndc, b.means_ndc, limit, "means_ndc");
}
RasterGradients<float> rounded(const RasterGradients<double>& g) {
  return {converted<float>(g.means),     converted<float>(g.scales), converted<float>(g.rotations),
          converted<float>(g.opacities), converted<float>(g.colors), converted<float>(g.means_ndc)};
}

// The CPU's kernels on the same scene, in plain host memory.
struct HostRaster {
  explicit HostRaster(const RasterScene<float>& scene)
      : scene(scene), image(3 * pixel_count(scene)), depth(pixel_count(scene)), alpha(pixel_count(scene)) {
    const size_t n = static_cast<size_t>(scene.count);
    radii.resize(n);
    forward.camera = &scene.camera;
    forward.width = scene.width;
    forward.height = scene.height;
    forward.count = scene.count;
    forward.means = scene.means.data();
    forward.scales = scene.scales.data();
    forward.rotations = scene.rotations.data();
    forward.opacities = scene.opacities.data();
    forward.colors = scene.colors.data();
    forward.image = image.data();
    forward.depth = depth.data();
    forward.alpha = alpha.data();
    forward.radii = radii.data();
    forward.context = context.get();
    cpu::rasterize_forward(forward);
  }
  RasterGradients<float> backward(const std::vector<float>& d_image) {
    const size_t n = static_cast<size_t>(scene.count);
    RasterGradients<float> g;
    RasterizeBackward b;
    const auto gradient = [n](std::vector<float>& values, size_t width) {
      values.resize(n * width);
      return values.data();
    };
    b.forward = forward;
    b.d_image = d_image.data();
    b.d_means = gradient(g.means, 3);
    b.d_scales = gradient(g.scales, 3);
    b.d_rotations = gradient(g.rotations, 4);
    b.d_opacities = gradient(g.opacities, 1);
    b.d_colors = gradient(g.colors, 3);
    b.d_means_ndc = gradient(g.means_ndc, 2);
    cpu::rasterize_backward(b);
    return g;
  }

  const RasterScene<float>& scene;
  std::vector<float> image, depth, alpha;
  std::vector<int32_t> radii;
  cpu::Memory memory{false};
  std::unique_ptr<RasterizeContext> context = cpu::create_rasterize_context(memory);
  RasterizeForward forward;
};

// No gradient at pixels where a threshold flipped between two results.
void leave_out(const std::vector<float>& alpha, const std::vector<float>& other,
               std::vector<float>& d_image) {
  for (size_t i = 0; i < alpha.size(); ++i)
    if (std::abs(alpha[i] - other[i]) > 1e-6f) d_image[3 * i] = d_image[3 * i + 1] = d_image[3 * i + 2] = 0;
}

void expect_like_reference(const RasterScene<float>& scene) {
  ReferenceRasterizer<float> reference;
  reference.forward(scene);
  CudaRaster kernels(scene);
  kernels.forward();
  const size_t allowed = 1 + pixel_count(scene) / 2000;
  const std::vector<float> alpha = kernels.alpha.to_host();
  EXPECT_LE(different_pixels(kernels.image.to_host(), reference.image, 3), allowed);
  EXPECT_LE(different_pixels(kernels.depth.to_host(), reference.depth, 1), allowed);
  EXPECT_LE(different_pixels(alpha, reference.alpha, 1), allowed);
  const std::vector<int32_t> radii = kernels.radii.to_host();
  int64_t other_radii = 0;
  for (size_t i = 0; i < radii.size(); ++i) {
    EXPECT_LE(std::abs(radii[i] - reference.radii[i]), 1) << i;
    other_radii += radii[i] != reference.radii[i];
  }
  EXPECT_LE(other_radii, 1 + scene.count / 1000);
  // Gradients against double, because the sums of a float reference are no better than the kernels'.
  std::vector<float> d_image = weights(3 * pixel_count(scene));
  leave_out(alpha, reference.alpha, d_image);
  const RasterScene<double> exact = converted<double>(scene);
  ReferenceRasterizer<double> precise;
  precise.forward(exact);
  leave_out(alpha, converted<float>(precise.alpha), d_image);
  const RasterGradients<double> want = precise.backward(exact, {d_image.begin(), d_image.end()});
  kernels.backward(d_image);
  expect_close(kernels.gradients(), rounded(want), 1e-3);
}

void expect_like_cpu(const RasterScene<float>& scene) {
  HostRaster host(scene);
  CudaRaster kernels(scene);
  kernels.forward();
  EXPECT_EQ(kernels.radii.to_host(), host.radii);
  const size_t allowed = 1 + pixel_count(scene) / 20000;
  const std::vector<float> alpha = kernels.alpha.to_host();
  EXPECT_LE(different_pixels(kernels.image.to_host(), host.image, 3), allowed);
  EXPECT_LE(different_pixels(kernels.depth.to_host(), host.depth, 1), allowed);
  EXPECT_LE(different_pixels(alpha, host.alpha, 1), allowed);
  std::vector<float> d_image = weights(3 * pixel_count(scene));
  leave_out(alpha, host.alpha, d_image);
  kernels.backward(d_image);
  expect_close(kernels.gradients(), host.backward(d_image), 1e-4);
}

TEST(CudaRasterizer, ScatteredScenesOfOddSizes) {
  EG4D_NEEDS_GPU();
  const int sizes[][2] = {{1, 1}, {97, 61}, {31, 17}, {16, 16}, {33, 80}, {8, 4}, {9, 5}, {200, 3}};
  uint64_t seed = 0;
  for (const auto& [width, height] : sizes) {
    SCOPED_TRACE(testing::Message() << width << "x" << height);
    expect_like_reference(scattered_scene(300, width, height, ++seed));
  }
}

TEST(CudaRasterizer, AnyNumberOfGaussians) {
  EG4D_NEEDS_GPU();
  for (const int64_t count : {0, 1, 2, 15, 31, 32, 33, 65, 127, 129}) {
    SCOPED_TRACE(count);
    expect_like_reference(scattered_scene(count, 40, 30, 40 + static_cast<uint64_t>(count)));
  }
}

TEST(CudaRasterizer, ThousandsOfGaussiansLikeTheCpu) {
  EG4D_NEEDS_GPU();
  expect_like_cpu(ball_scene(20000, 0.0085f, 576, 576, 3));
  expect_like_cpu(ball_scene(20000, 0.02f, 97, 61, 4));
  expect_like_cpu(scattered_scene(20000, 160, 90, 5));
}

TEST(CudaRasterizer, ManyFaintGaussiansInACell) {
  EG4D_NEEDS_GPU();
  RasterScene<float> scene = scattered_scene(1500, 20, 20, 5);
  for (float& opacity : scene.opacities) opacity *= 0.02f;
  expect_like_reference(scene);
}

TEST(CudaRasterizer, EqualDepthsKeepTheirOrder) {
  EG4D_NEEDS_GPU();
  RasterScene<float> scene = scattered_scene(40, 32, 32, 12);
  for (int64_t i = 0; i < scene.count; ++i) {
    scene.means[3 * i] *= 0.1f;
    scene.means[3 * i + 1] *= 0.1f;
    scene.means[3 * i + 2] = 2;
  }
  expect_like_reference(scene);
}

// Long thin ones in all directions are where leaving out cells could go wrong. The CPU's projection has the
// same bits; another rounding of it would show.
TEST(CudaRasterizer, NeedlesLoseNoCell) {
  EG4D_NEEDS_GPU();
  RasterScene<float> scene = scattered_scene(200, 300, 200, 19);
  for (int64_t i = 0; i < scene.count; ++i) {
    scene.scales[3 * i] = 1;
    scene.scales[3 * i + 1] = scene.scales[3 * i + 2] = 1e-4f;
    scene.opacities[i] *= 0.1f;
  }
  const HostRaster host(scene);
  CudaRaster kernels(scene);
  kernels.forward();
  EXPECT_EQ(kernels.radii.to_host(), host.radii);
  EXPECT_LE(different_pixels(kernels.image.to_host(), host.image, 3), pixel_count(scene) / 2000);
  EXPECT_LE(different_pixels(kernels.alpha.to_host(), host.alpha, 1), pixel_count(scene) / 2000);
}

TEST(CudaRasterizer, EverythingBehindTheCameraLeavesTheBackground) {
  EG4D_NEEDS_GPU();
  RasterScene<float> scene = scattered_scene(50, 20, 12, 3);
  for (int64_t i = 0; i < scene.count; ++i) scene.means[3 * i + 2] = -1 - static_cast<float>(i);
  CudaRaster kernels(scene);
  kernels.forward();
  const std::vector<float> image = kernels.image.to_host();
  for (size_t i = 0; i < image.size(); ++i) EXPECT_EQ(image[i], scene.camera.background[i % 3]);
  EXPECT_EQ(kernels.counts().pairs, 0u);
  kernels.backward(weights(3 * pixel_count(scene)));
  EXPECT_EQ(kernels.gradients().means, std::vector<float>(150, 0.0f));
}

TEST(CudaRasterizer, GaussiansThatAreNotFiniteAreLeftOut) {
  EG4D_NEEDS_GPU();
  RasterScene<float> scene = scattered_scene(64, 45, 37, 8), rest = scene;
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              infinity = std::numeric_limits<float>::infinity();
  const float bad[] = {nan, infinity, -infinity, nan};
  for (size_t i = 0; i < 32; ++i) {
    rest.opacities[i] = 0;
    std::vector<float>* const arrays[] = {&scene.means, &scene.scales, &scene.rotations, &scene.opacities,
                                          &scene.colors};
    std::vector<float>& array = *arrays[i % 5];
    array[array.size() / 64 * i] = bad[i / 5 % 4];
  }
  CudaRaster kernels(scene), others(rest);
  kernels.forward();
  others.forward();
  EXPECT_EQ(kernels.image.to_host(), others.image.to_host());
  EXPECT_EQ(kernels.depth.to_host(), others.depth.to_host());
  kernels.backward(weights(3 * pixel_count(scene)));
  for (const std::vector<float>& gradient :
       {kernels.gradients().means, kernels.gradients().scales, kernels.gradients().rotations})
    EXPECT_TRUE(finite(gradient));
}

TEST(CudaRasterizer, ExtremeScalesStayFinite) {
  EG4D_NEEDS_GPU();
  RasterScene<float> scene = scattered_scene(120, 64, 48, 14);
  const float sizes[] = {0, 1e-20f, 1e-6f, 10, 1e4f, 1e9f};
  for (size_t i = 0; i < 120; ++i)
    for (size_t axis = 0; axis < 3; ++axis) scene.scales[3 * i + axis] = sizes[(i >> axis) % 6];
  CudaRaster kernels(scene);
  kernels.forward();
  EXPECT_TRUE(finite(kernels.image.to_host()));
  kernels.backward(weights(3 * pixel_count(scene)));
  EXPECT_TRUE(finite(kernels.gradients().means));
  EXPECT_TRUE(finite(kernels.gradients().opacities));
}

// Each covers thousands of cells: what whole warps do together.
TEST(CudaRasterizer, GaussiansThatCoverThePicture) {
  EG4D_NEEDS_GPU();
  RasterScene<float> scene = scattered_scene(70, 333, 217, 15);
  for (float& scale : scene.scales) scale = std::max(scale, 0.7f);
  for (int64_t i = 0; i < scene.count; ++i) scene.means[3 * i + 2] = 1.5f + std::abs(scene.means[3 * i + 2]);
  for (float& opacity : scene.opacities) opacity *= 0.1f;
  expect_like_reference(scene);
}

TEST(CudaRasterizer, SameBitsFromRunToRun) {
  EG4D_NEEDS_GPU();
  const RasterScene<float> scene = ball_scene(9000, 0.02f, 190, 130, 30);
  const std::vector<float> d_image = weights(3 * pixel_count(scene));
  std::vector<float> image;
  RasterGradients<float> first;
  for (int run = 0; run < 5; ++run) {
    CudaRaster kernels(scene, run < 3 ? 0 : 2000000);  // nor does the capacity matter
    kernels.forward();
    kernels.backward(d_image);
    const RasterGradients<float> d = kernels.gradients();
    if (run == 0) {
      image = kernels.image.to_host();
      first = d;
    }
    EXPECT_TRUE(same_bits(kernels.image.to_host(), image));
    EXPECT_TRUE(same_bits(d.means, first.means));
    EXPECT_TRUE(same_bits(d.scales, first.scales));
    EXPECT_TRUE(same_bits(d.rotations, first.rotations));
    EXPECT_TRUE(same_bits(d.opacities, first.opacities));
    EXPECT_TRUE(same_bits(d.colors, first.colors));
    EXPECT_TRUE(same_bits(d.means_ndc, first.means_ndc));
  }
}

// Lists of a few, of hundreds and of thousands of Gaussians.
TEST(CudaRasterizer, BothWaysOfMakingListsGiveTheSameBits) {
  EG4D_NEEDS_GPU();
  for (const RasterScene<float>& scene :
       {ball_scene(9000, 0.02f, 190, 130, 30), scattered_scene(3000, 20, 20, 32),
        ball_scene(40000, 0.05f, 48, 48, 33)}) {
    const std::vector<float> d_image = weights(3 * pixel_count(scene));
    CudaRaster one(scene), other(scene);
    one.forward();
    other.forward();
    EXPECT_EQ(one.totals().pairs, one.counts().pairs);
    other.use_long_lists(true);
    other.forward();
    EXPECT_EQ(one.counts().pairs, other.counts().pairs);
    EXPECT_TRUE(same_bits(one.image.to_host(), other.image.to_host()));
    EXPECT_TRUE(same_bits(one.depth.to_host(), other.depth.to_host()));
    one.backward(d_image);
    other.backward(d_image);
    EXPECT_TRUE(same_bits(one.gradients().means, other.gradients().means));
    EXPECT_TRUE(same_bits(one.gradients().colors, other.gradients().colors));
  }
}

// Small Gaussians of no great opacity on one spot each, of some depths only, beside a scene.
RasterScene<float> with_heaps(RasterScene<float> scene, const std::vector<int64_t>& sizes) {
  Philox random(34);
  float x = -1.2f;
  for (const int64_t size : sizes) {
    const auto values = uniform_values<float>(random, 5 * size, 0, 1);
    for (int64_t i = 0; i < size; ++i) {
      const float* v = values.data() + 5 * i;
      const float depth = 4 + std::floor(v[0] * 50) / 100;
      scene.means.insert(scene.means.end(), {x * depth / 4, 0.1f * depth / 4, depth});
      scene.scales.insert(scene.scales.end(), {0.002f, 0.003f, 0.002f});
      scene.rotations.insert(scene.rotations.end(), {1, 0, 0, 0});
      scene.opacities.push_back(0.02f + 0.02f * v[1]);
      scene.colors.insert(scene.colors.end(), {v[2], v[3], v[4]});
    }
    scene.count += size;
    x += 0.2f;
  }
  return scene;
}

// Each cell's Gaussians from front to back.
std::vector<std::vector<uint32_t>> lists_of(const CudaRaster& kernels) {
  const size_t cells =
      static_cast<size_t>((kernels.arguments.width + 7) / 8) * ((kernels.arguments.height + 3) / 4);
  std::vector<uint2> ranges(cells);
  std::vector<uint32_t> gaussians(static_cast<size_t>(kernels.workspace.size.pair_capacity));
  const auto copy = [](auto& to, const void* from) {
    cuda::check(cudaMemcpy(to.data(), from, to.size() * sizeof(to[0]), cudaMemcpyDeviceToHost), "copying");
  };
  copy(ranges, kernels.workspace.cell_range);
  copy(gaussians, kernels.workspace.gaussian);
  std::vector<std::vector<uint32_t>> lists;
  for (const uint2& range : ranges)
    lists.emplace_back(gaussians.begin() + range.x, gaussians.begin() + range.y);
  return lists;
}

// Lengths about those at which a list is sorted in another way, and above those of all of them.
TEST(CudaRasterizer, VeryLongListsBesideShortOnesAreSortedLikeThem) {
  EG4D_NEEDS_GPU();
  const RasterScene<float> scene = with_heaps(scattered_scene(300, 190, 130, 35),
                                              {31, 33, 64, 250, 257, 300, 1000, 2040, 2049, 5000, 9000});
  const std::vector<float> d_image = weights(3 * pixel_count(scene));
  CudaRaster one(scene), other(scene);
  one.forward();
  EXPECT_GE(one.totals().longest, 9000u);
  other.use_long_lists(true);
  other.forward();
  EXPECT_EQ(lists_of(one), lists_of(other));
  EXPECT_TRUE(same_bits(one.image.to_host(), other.image.to_host()));
  EXPECT_TRUE(same_bits(one.depth.to_host(), other.depth.to_host()));
  EXPECT_TRUE(same_bits(one.alpha.to_host(), other.alpha.to_host()));
  one.backward(d_image);
  other.backward(d_image);
  const RasterGradients<float> a = one.gradients(), b = other.gradients();
  EXPECT_TRUE(same_bits(a.means, b.means));
  EXPECT_TRUE(same_bits(a.scales, b.scales));
  EXPECT_TRUE(same_bits(a.opacities, b.opacities));
  EXPECT_TRUE(same_bits(a.colors, b.colors));
}

// Small enough for sanitizers, which take a hundred times as long: a list for a warp, one for a block, and
// one in pieces.
TEST(CudaRasterizer, AFewForEachKernel) {
  EG4D_NEEDS_GPU();
  const RasterScene<float> scene = with_heaps(scattered_scene(60, 50, 30, 36), {33, 270, 2060});
  CudaRaster one(scene), other(scene);
  one.forward();
  EXPECT_GE(one.totals().longest, 2060u);
  other.use_long_lists(true);
  other.forward();
  EXPECT_EQ(lists_of(one), lists_of(other));
  one.backward(weights(3 * pixel_count(scene)));
  other.backward(weights(3 * pixel_count(scene)));
  EXPECT_TRUE(same_bits(one.gradients().means, other.gradients().means));
}

TEST(CudaRasterizer, AllPairsAreSortedWhereListsAreLongAndManyOrVeryLong) {
  using cuda::are_long;
  constexpr unsigned long long kFew = 500000, kMany = 14000000;
  for (const bool now : {false, true}) {
    EXPECT_FALSE(are_long({kMany, 300, 0}, now));
    EXPECT_FALSE(are_long({kFew, 2000, 0}, now));
    EXPECT_TRUE(are_long({kFew, 5000, 0}, now));
    EXPECT_TRUE(are_long({kMany, 1100, 0}, now));
  }
  EXPECT_FALSE(are_long({kFew, 3000, 0}, false));
  EXPECT_TRUE(are_long({kFew, 3000, 0}, true)) << "not at every picture in another way";
}

TEST(CudaRasterizer, TooManyPairsAreToldAndHarmNothing) {
  EG4D_NEEDS_GPU();
  const RasterScene<float> scene = ball_scene(3000, 0.05f, 150, 110, 31);
  CudaRaster whole(scene);
  whole.forward();
  EXPECT_EQ(whole.counts().overflow, 0u);
  for (const int64_t capacity : {int64_t{1}, int64_t{1000}, int64_t{whole.counts().pairs} - 1}) {
    CudaRaster small(scene, capacity);
    small.use_long_lists(capacity == 1000);
    small.forward();
    EXPECT_EQ(small.counts().overflow, 1u);
    EXPECT_EQ(small.counts().pairs, whole.counts().pairs);
    EXPECT_TRUE(finite(small.image.to_host()));
    small.backward(weights(3 * pixel_count(scene)));
    EXPECT_TRUE(finite(small.gradients().means));
  }
  CudaRaster exact(scene, whole.counts().pairs);
  exact.forward();
  EXPECT_EQ(exact.counts().overflow, 0u);
  EXPECT_TRUE(same_bits(exact.image.to_host(), whole.image.to_host()));
}

TEST(CudaRasterizer, GradientsAccumulateAndWorkspacesAreUsedAgain) {
  EG4D_NEEDS_GPU();
  const RasterScene<float> scene = scattered_scene(200, 90, 70, 31);
  const std::vector<float> d_image = weights(3 * pixel_count(scene));
  CudaRaster kernels(scene);
  kernels.forward();
  kernels.backward(d_image);
  const std::vector<float> once = kernels.gradients().colors;
  kernels.enqueue_forward(nullptr);
  kernels.enqueue_backward(nullptr);
  const std::vector<float> twice = kernels.gradients().colors;
  for (size_t i = 0; i < once.size(); ++i) EXPECT_FLOAT_EQ(twice[i], 2 * once[i]);
}

}  // namespace
}  // namespace eg4d::test
