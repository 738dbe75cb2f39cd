#include <gtest/gtest.h>

#include <cmath>
#include <regex>

#include "diffusion/conditioning.h"
#include "diffusion/edm_sampler.h"
#include "diffusion/unet_video_call.h"
#include "support/device_fixture.h"
#include "support/golden.h"
#include "support/reference_sampling.h"
#include "support/sampling_fixture.h"

namespace eg4d {
namespace {

using test::golden_has_fixture;
using test::relative_error;

const char* kDefaults = "svd_sampling/real_defaults.safetensors";

// Calls body(match) for every tensor whose name matches the pattern.
template <class Body>
void for_each_match(const SafetensorsFile& file, const std::string& pattern, Body body) {
  const std::regex expression(pattern);
  int matches = 0;
  for (const auto& [name, entry] : file.entries()) {
    std::smatch match;
    if (!std::regex_match(name, match, expression)) continue;
    SCOPED_TRACE(name);
    body(match, file.floats(name));
    ++matches;
  }
  EXPECT_GT(matches, 0) << "no tensor is called " << pattern;
}

void expect_close(const std::vector<float>& ours, const std::vector<float>& reference,
                  double tolerance = 1e-6) {
  EXPECT_LE(relative_error(ours, reference), tolerance);
}

TEST(SvdSamplingTables, SigmasAndNoiseLevels) {
  if (!golden_has_fixture(kDefaults, test::GoldenPart::optional)) GTEST_SKIP() << "no " << kDefaults;
  const SafetensorsFile file = test::golden_tensors(kDefaults);
  for_each_match(file, R"(sigmas(?:_gpu)?\.n(\d+))",
                 [](const std::smatch& match, const std::vector<float>& values) {
                   const auto sigmas = edm_sigmas({.steps = std::stoi(match[1])});
                   ASSERT_EQ(sigmas.size(), values.size());
                   for (size_t i = 0; i < sigmas.size(); ++i)
                     EXPECT_NEAR(sigmas[i], values[i], 1e-6 * values[i]);
                 });
  for_each_match(file, R"(c_noise\.n(\d+))", [](const std::smatch& match, const std::vector<float>& values) {
    auto sigmas = edm_sigmas({.steps = std::stoi(match[1])});
    sigmas.pop_back();
    for (float& sigma : sigmas) sigma = v_prediction_scaling(sigma).c_noise;
    expect_close(sigmas, values);
  });
}

TEST(SvdSamplingTables, GuidanceScales) {
  if (!golden_has_fixture(kDefaults, test::GoldenPart::optional)) GTEST_SKIP() << "no " << kDefaults;
  const SafetensorsFile file = test::golden_tensors(kDefaults);
  for_each_match(
      file, R"(guider\.(sv3d|svd)\w*_T(\d+)_min([\d.]+)_max([\d.]+))",
      [](const std::smatch& match, const std::vector<float>& values) {
        const auto shape = match[1] == "sv3d" ? GuidanceShape::triangle : GuidanceShape::linear;
        expect_close(guidance_scales({shape, std::stof(match[3]), std::stof(match[4])}, std::stoi(match[2])),
                     values);
      });
}

TEST(SvdSamplingTables, Embeddings) {
  if (!golden_has_fixture(kDefaults, test::GoldenPart::optional)) GTEST_SKIP() << "no " << kDefaults;
  const SafetensorsFile file = test::golden_tensors(kDefaults);
  if (file.contains("timestep_embedding.in")) {
    const auto in = file.floats("timestep_embedding.in");
    const std::vector<double> values(in.begin(), in.end());
    for_each_match(file, R"(timestep_embedding\.dim(\d+))",
                   [&](const std::smatch& match, const std::vector<float>& embedding) {
                     expect_close(sinusoidal_embedding(values, std::stoi(match[1])), embedding, 1e-5);
                   });
  }
  for_each_match(file, R"(vector\.(?:svd_xt_)?fps(\d+)_mb(\d+)_aug([\d.e-]+))",
                 [](const std::smatch& match, const std::vector<float>& vector) {
                   const SvdMotion motion{std::stod(match[1]), std::stod(match[2]), std::stod(match[3])};
                   expect_close(svd_vector(motion, static_cast<int>(vector.size() / 768)), vector, 1e-5);
                 });
  for_each_match(file, R"(vector\.sv3d_u_aug([\d.e-]+))",
                 [](const std::smatch& match, const std::vector<float>& vector) {
                   expect_close(sv3d_u_vector(std::stod(match[1]), static_cast<int>(vector.size() / 256)),
                                vector);
                 });
  for_each_match(file, R"(vector\.sv3d_p_T(\d+)_elev(-?[\d.]+))",
                 [](const std::smatch& match, const std::vector<float>& vector) {
                   const auto orbit = sv3d_orbit(std::stoi(match[1]), std::stod(match[2]));
                   expect_close(sv3d_p_vector(kSv3dConditioningNoise, orbit), vector, 1e-5);
                 });
}

TEST(SvdSamplingTables, Orbit) {
  if (!golden_has_fixture(kDefaults, test::GoldenPart::optional)) GTEST_SKIP() << "no " << kDefaults;
  const SafetensorsFile file = test::golden_tensors(kDefaults);
  if (!file.contains("sv3d_p.azimuths_rad_f64")) return test::golden_absent("orbit");
  const auto azimuths = file.floats("sv3d_p.azimuths_rad_f64");
  const auto polars = file.floats("sv3d_p.polars_rad_f64");
  const auto orbit = sv3d_orbit(static_cast<int>(azimuths.size()), 0);
  expect_close({orbit.azimuth.begin(), orbit.azimuth.end()}, azimuths);
  expect_close({orbit.polar.begin(), orbit.polar.end()}, polars);
}

EG4D_DEVICE_SUITE(SvdSamplingTest);

// A whole run with the small UNet: every step's latent, both halves and the guided prediction.
TEST_P(SvdSamplingTest, WholeRun) {
  if (!golden_has_fixture("svd_sampling/io.safetensors")) GTEST_SKIP() << "no svd_sampling fixture";
  const test::SamplingFixture fixture("svd_sampling");
  const auto backend = test::make_test_backend();
  const auto unet = fixture.network(*backend);
  const std::vector<VideoCondition> conditions = {fixture.condition(*backend, "")};
  const VideoCondition& condition = conditions[0];
  UNetVideoCall network(*unet, static_cast<int>(fixture.scales.size()), conditions);
  EulerSampler sampler(*backend, fixture.schedule, fixture.scales, network);
  expect_close(fixture.scales, fixture.io.floats("guidance_scale"));

  const std::vector<EulerCoefficients> coefficients = euler_coefficients(edm_sigmas(fixture.schedule));
  const Tensor latent = fixture.latent(*backend, "noise");
  sampler.start(latent);
  for (int step = 0; step < sampler.steps(); ++step) {
    const std::vector<float> before = latent.to_host();
    sampler.advance(step, 0, condition.concat, latent);
    const std::string prefix = "step" + std::to_string(step) + ".";
    SCOPED_TRACE(prefix);
    if (!fixture.io.contains(prefix + "latent")) continue;
    expect_close(latent.to_host(), fixture.latent(prefix + "latent"), 1e-4);
    // The device keeps neither of these two; from them the host makes the same latent.
    const EulerCoefficients& now = coefficients[static_cast<size_t>(step)];
    const auto halves = test::plain_denoised(network.prediction().to_host(), before, now);
    const auto guided = test::plain_guided(halves, fixture.scales, !needs_unconditional(fixture.scales));
    std::vector<float> after = before;
    test::plain_euler_step(guided, now, after);
    EXPECT_EQ(latent.to_host(), after);
    const std::vector<float> both = fixture.latent(prefix + "denoised_both_uc_then_c");
    ASSERT_LE(halves.size(), both.size());  // without guidance the conditional half
    expect_close(halves, {both.end() - static_cast<int64_t>(halves.size()), both.end()}, 1e-4);
    expect_close(guided, fixture.latent(prefix + "denoised_guided"), 1e-4);
  }
  expect_close(latent.to_host(), fixture.latent("final_latent"), 1e-4);

  // The conditions that the product makes of a picture are the stored ones.
  const VideoCondition made = fixture.picture_condition(*backend, "");
  EXPECT_EQ(made.context.to_host(), condition.context.to_host());
  EXPECT_EQ(made.vector.to_host(), condition.vector.to_host());
  const std::vector<float> stored = condition.concat.to_host(), rows = made.concat.to_host();
  const size_t row = rows.size() / static_cast<size_t>(made.concat.dim(0));
  const size_t repeats = static_cast<size_t>(condition.concat.dim(0) / made.concat.dim(0));
  for (size_t i = 0; i < stored.size(); ++i) ASSERT_EQ(stored[i], rows[i / row / repeats * row + i % row]);
}

}  // namespace
}  // namespace eg4d
