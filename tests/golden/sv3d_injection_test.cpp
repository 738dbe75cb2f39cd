// Attention injection between the multi-view videos of consecutive frames, through whole sampling runs.

#include <gtest/gtest.h>

#include <functional>
#include <regex>

#include "diffusion/unet_network.h"
#include "support/device_fixture.h"
#include "support/golden.h"
#include "support/network_fixture.h"
#include "support/sampling_fixture.h"

namespace eg4d::test {
namespace {

constexpr double kTolerance = 1e-4;
using Latents = std::vector<std::vector<float>>;

class Sv3dInjection : public OnEachDevice {
 protected:
  void SetUp() override {
    if (!golden_has_fixture("sv3d_injection/io.safetensors")) GTEST_SKIP() << "no sv3d_injection fixture";
    fixture.emplace("sv3d_injection");
    videos = fixture->config.at("video_frames");
    for (int video = 0; video < videos; ++video)
      conditions.push_back(fixture->condition("frame" + std::to_string(video) + "."));
    unet = fixture->network(*backend);
  }

  Latents start(const EulerSampler& sampler) const {
    Latents latents;
    for (int video = 0; video < videos; ++video) {
      latents.push_back(fixture->latent("frame" + std::to_string(video) + ".noise"));
      sampler.start(latents.back());
    }
    return latents;
  }

  // In the product's order. Compares every step's latents, where they are stored under `name`, and the final
  // ones.
  Latents run(const std::string& name, std::optional<AttentionInjection::Options> injection) {
    UNetNetwork network(*backend, *unet, injection);
    EulerSampler sampler(fixture->schedule, fixture->scales, std::ref(network));
    Latents latents = start(sampler);
    sampler.advance_step_major(0, conditions, latents,
                               {{}, [&](int step) {
                                  compare(name, ".step" + std::to_string(step) + ".latent", latents);
                                  network.forget(step);
                                }});
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
      EXPECT_LE(relative_error(latents[video], fixture->latent(key)), kTolerance) << key;
    }
    return compared;
  }

  std::unique_ptr<Backend> backend = make_test_backend();
  std::optional<SamplingFixture> fixture;
  int videos = 0;
  std::vector<VideoCondition> conditions;
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

// The published order: all steps of one video, then the next video, with the references of all steps kept.
TEST_P(Sv3dInjection, StepMajorEqualsFrameMajor) {
  for (const bool ema : {true, false}) {
    const AttentionInjection::Options options{0.5f, ema};
    const Latents step_major = run(ema ? "ref_ema" : "ref_noema", options);

    UNetNetwork network(*backend, *unet, options);
    EulerSampler sampler(fixture->schedule, fixture->scales, std::ref(network));
    Latents latents = start(sampler);
    const size_t one_step = [&] {
      sampler.advance(0, 0, conditions[0], latents[0]);
      return network.injection()->bytes();
    }();
    for (int video = 0; video < videos; ++video)
      for (int step = video == 0 ? 1 : 0; step < sampler.steps(); ++step)
        sampler.advance(step, video, conditions[video], latents[video]);
    EXPECT_EQ(latents, step_major) << "ema " << ema;
    EXPECT_EQ(network.injection()->bytes(), one_step * sampler.steps());
  }
}

// The references themselves, and their memory: one step's in the product's order.
TEST_P(Sv3dInjection, References) {
  UNetNetwork network(*backend, *unet,
                      AttentionInjection::Options{fixture->config.value("ref_strength", 0.5f), true});
  EulerSampler sampler(fixture->schedule, fixture->scales, std::ref(network));
  Latents latents = start(sampler);
  size_t compared = 0, largest = 0, smallest = ~size_t{0};
  const std::regex pattern(R"(refs\.step(\d+)\.layer(\d+)\.(after_frame0|after_frame1_ema))");
  const auto compare_references = [&](int step, const std::string& when) {
    for (const auto& [name, entry] : fixture->io.entries()) {
      std::smatch match;
      if (!std::regex_match(name, match, pattern) || std::stoi(match[1]) != step || match[3] != when)
        continue;
      const std::vector<float> reference =
          network.injection()->references(step).at(std::stoul(match[2])).to_host();
      const std::vector<float> both = fixture->io.floats(name);
      ASSERT_LE(reference.size(), both.size());  // without guidance the conditional half
      EXPECT_LE(relative_error(reference, {both.end() - static_cast<int64_t>(reference.size()), both.end()}),
                kTolerance)
          << name;
      ++compared;
    }
  };
  sampler.advance_step_major(0, conditions, latents,
                             {[&](int step, int video) {
                                if (video == 1) compare_references(step, "after_frame0");
                                if (video == 2) compare_references(step, "after_frame1_ema");
                              },
                              [&](int step) {
                                if (videos == 2) compare_references(step, "after_frame1_ema");
                                const size_t bytes = network.injection()->bytes();
                                largest = std::max(largest, bytes);
                                smallest = std::min(smallest, bytes);
                                network.forget(step);
                              }});
  EXPECT_EQ(largest, smallest);
  if (compared == 0) golden_absent("reference");
}

EG4D_ON_EACH_DEVICE(Sv3dInjection);

}  // namespace
}  // namespace eg4d::test
