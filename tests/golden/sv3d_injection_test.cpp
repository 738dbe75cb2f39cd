// Attention injection between the multi-view videos of consecutive frames, through whole sampling runs.

#include <gtest/gtest.h>

#include <functional>
#include <regex>

#include "diffusion/edm_sampler.h"
#include "diffusion/unet_video_call.h"
#include "support/device_fixture.h"
#include "support/golden.h"
#include "support/network_fixture.h"
#include "support/sampling_fixture.h"

namespace eg4d::test {
namespace {

constexpr double kTolerance = 1e-4;
using Latents = std::vector<Tensor>;

class Sv3dInjection : public OnEachDevice {
 protected:
  void SetUp() override {
    if (!golden_has_fixture("sv3d_injection/io.safetensors")) GTEST_SKIP() << "no sv3d_injection fixture";
    fixture.emplace("sv3d_injection");
    videos = fixture->config.at("video_frames");
    for (int video = 0; video < videos; ++video)
      conditions.push_back(fixture->condition(*backend, "frame" + std::to_string(video) + "."));
    for (const VideoCondition& condition : conditions) concats.push_back(condition.concat);
    unet = fixture->network(*backend);
  }

  Latents start(const EulerSampler& sampler) const {
    Latents latents;
    for (int video = 0; video < videos; ++video) {
      latents.push_back(fixture->latent(*backend, "frame" + std::to_string(video) + ".noise"));
      sampler.start(latents.back());
    }
    return latents;
  }

  UNetVideoCall network_with(std::optional<AttentionInjection::Options> injection) const {
    return {*unet, static_cast<int>(fixture->scales.size()), conditions, injection};
  }

  // In the product's order. Compares every step's latents, where they are stored under `name`, and the final
  // ones.
  Latents run(const std::string& name, std::optional<AttentionInjection::Options> injection) {
    UNetVideoCall network = network_with(injection);
    EulerSampler sampler(*backend, fixture->schedule, fixture->scales, network);
    Latents latents = start(sampler);
    sampler.advance_step_major(
        0, concats, latents,
        {{}, [&](int step) { compare(name, ".step" + std::to_string(step) + ".latent", latents); }});
    EXPECT_EQ(compare(name, ".final_latent", latents), videos) << name;
    return latents;
  }

  // How many of the videos have latents stored.
  int compare(const std::string& name, const std::string& suffix, const Latents& latents) const {
    int compared = 0;
    for (int video = 0; video < videos; ++video) {
      const std::string key = name + ".frame" + std::to_string(video) + suffix;
      if (!fixture->io.contains(key)) continue;
      ++compared;
      EXPECT_LE(relative_error(latents[video].to_host(), fixture->latent(key)), kTolerance) << key;
    }
    return compared;
  }

  std::unique_ptr<Backend> backend = make_test_backend();
  std::optional<SamplingFixture> fixture;
  int videos = 0;
  std::vector<VideoCondition> conditions;
  std::vector<Tensor> concats;
  std::unique_ptr<VideoUNet> unet;
};

TEST_P(Sv3dInjection, WithEma) {
  run("ref_ema", AttentionInjection::Options{fixture->config.value("ref_strength", 0.5f), true});
}

TEST_P(Sv3dInjection, WithoutEma) {
  run("ref_noema", AttentionInjection::Options{fixture->config.value("ref_strength", 0.5f), false});
}

TEST_P(Sv3dInjection, Off) {
  run("noref", {});
}

TEST_P(Sv3dInjection, OtherStrengths) {
  const std::regex pattern(R"(ref_ema_strength([\d.]+)\.frame0\.final_latent)");
  int strengths = 0;
  for (const auto& [name, entry] : fixture->io.entries()) {
    std::smatch match;
    if (!std::regex_match(name, match, pattern)) continue;
    run("ref_ema_strength" + match[1].str(), AttentionInjection::Options{std::stof(match[1]), true});
    ++strengths;
  }
  if (strengths == 0) golden_absent("other strength");
}

// The references themselves, and their memory: one step's in the product's order.
TEST_P(Sv3dInjection, References) {
  UNetVideoCall network =
      network_with(AttentionInjection::Options{fixture->config.value("ref_strength", 0.5f), true});
  EulerSampler sampler(*backend, fixture->schedule, fixture->scales, network);
  Latents latents = start(sampler);
  size_t compared = 0, largest = 0, smallest = ~size_t{0};
  const std::regex pattern(R"(refs\.step(\d+)\.layer(\d+)\.(after_frame0|after_frame1_ema))");
  const auto compare_references = [&](int step, const std::string& when) {
    for (const auto& [name, entry] : fixture->io.entries()) {
      std::smatch match;
      if (!std::regex_match(name, match, pattern) || std::stoi(match[1]) != step || match[3] != when)
        continue;
      const std::vector<float> reference =
          network.injection()->references().at(std::stoul(match[2])).to_host();
      const std::vector<float> both = fixture->io.floats(name);
      ASSERT_LE(reference.size(), both.size());  // without guidance the conditional half
      EXPECT_LE(relative_error(reference, {both.end() - static_cast<int64_t>(reference.size()), both.end()}),
                kTolerance)
          << name;
      ++compared;
    }
  };
  sampler.advance_step_major(0, concats, latents,
                             {[&](int step, int video) {
                                if (video == 1) compare_references(step, "after_frame0");
                                if (video == 2) compare_references(step, "after_frame1_ema");
                              },
                              [&](int step) {
                                if (videos == 2) compare_references(step, "after_frame1_ema");
                                const size_t bytes = network.injection()->bytes();
                                largest = std::max(largest, bytes);
                                smallest = std::min(smallest, bytes);
                              }});
  EXPECT_EQ(largest, smallest);
  if (compared == 0) golden_absent("reference");
}

EG4D_ON_EACH_DEVICE(Sv3dInjection);

}  // namespace
}  // namespace eg4d::test
