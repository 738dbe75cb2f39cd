#include "view/scene_file.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <set>

#include "core/error.h"
#include "support/expect_error.h"
#include "support/places.h"
#include "support/scene_decoder.h"
#include "support/temporary_folder.h"

namespace eg4d {
namespace {

// Some number in [0,1) that viewer/tests/scene.test.ts computes alike.
float number(int attribute, size_t gaussian, size_t component, int moment) {
  const size_t hash = gaussian * (3 + component) + 5 * component + 7 * static_cast<size_t>(moment + 1) +
                      11 * static_cast<size_t>(attribute);
  return static_cast<float>(hash % 97) / 97;
}

enum { kPosition, kScale, kQuaternion, kDc, kRest, kGainBias, kOpacity };

std::vector<float> numbers(int attribute, size_t count, size_t width, int moment, float factor, float shift) {
  std::vector<float> values(count * width);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = factor * number(attribute, i / width, i % width, moment) + shift;
  return values;
}

// What the page's tests read, too.
Scene sample(size_t count = 37) {
  Scene scene;
  scene.count = static_cast<int64_t>(count);
  scene.sh_degree = 3;
  scene.positions = numbers(kPosition, count, 3, -1, 2, -1);
  scene.log_scales = numbers(kScale, count, 3, -1, 4, -5);
  scene.quaternions = numbers(kQuaternion, count, 4, -1, 2, -1);
  scene.sh_dc = numbers(kDc, count, 3, -1, 3, -1);
  scene.sh_rest = numbers(kRest, count, 45, -1, 0.4f, -0.2f);
  scene.gain_bias = numbers(kGainBias, count, 4, -1, 1, -0.5f);
  scene.opacities = numbers(kOpacity, count, 1, -1, 1, 0);
  int number_of_moment = 0;
  for (const float time : {0.0f, 0.25f, 0.5f, 0.75f, 1.0f}) {
    const int m = number_of_moment++;
    scene.moments.push_back({time, numbers(kPosition, count, 3, m, 2, -1),
                             numbers(kScale, count, 3, m, 4, -5), numbers(kQuaternion, count, 4, m, 2, -1),
                             numbers(kGainBias, count, 4, m, 1, -0.5f),
                             numbers(kOpacity, count, 1, m, 1, 0)});
  }
  scene.fov_x = 0.7;
  scene.camera_radius = 4;
  scene.width = 64;
  scene.height = 48;
  return scene;
}

std::string encoded(const Scene& scene, const SceneSteps& steps = {}) {
  std::string file;
  encode_scene(
      scene, steps, [&](const std::string& piece) { file += piece; }, [] { return false; });
  return file;
}

void expect_within(const std::vector<float>& decoded, const std::vector<float>& values, double half_step) {
  ASSERT_EQ(decoded.size(), values.size());
  for (size_t i = 0; i < values.size(); ++i) ASSERT_NEAR(decoded[i], values[i], half_step * 1.001) << i;
}

TEST(SceneFile, NoValueIsOffByMoreThanHalfAStep) {
  const Scene scene = sample(500);
  const auto file = test::take_apart(encoded(scene));
  const auto half = [&](const char* name) { return file.head["steps"][name].get<double>() / 2; };
  const auto expect_pose = [&](const test::DecodedPose& pose, const auto& values) {
    expect_within(pose.positions, values.positions, half("position"));
    expect_within(pose.log_scales, values.log_scales, half("log_scale"));
    expect_within(pose.quaternions, values.quaternions, half("quaternion"));
  };
  expect_pose(test::decode_pose(file, -1), scene);
  for (int m = 0; m < 5; ++m) {
    expect_pose(test::decode_pose(file, m), scene.moments[static_cast<size_t>(m)]);
    expect_within(test::decode_own_colors(file, m), scene.moments[static_cast<size_t>(m)].gain_bias,
                  half("color"));
  }
  const test::DecodedColors colors = test::decode_colors(file);
  expect_within(colors.sh_dc, scene.sh_dc, half("sh_dc"));
  expect_within(colors.gain_bias, scene.gain_bias, half("color"));
  expect_within(colors.opacities, scene.opacities, half("opacity"));
  expect_within(colors.sh_rest, scene.sh_rest, file.head["steps"]["harmonics"][0].get<double>() / 2);
  EXPECT_NEAR(half("position"), 1.6e-4, 1e-9) << "8e-5 of the camera's distance";
}

TEST(SceneFile, TheFirstPictureComesFirst) {
  const auto file = test::take_apart(encoded(sample()));
  const auto kind = [&](size_t i) { return static_cast<SceneSection>(file.order[i].first); };
  EXPECT_EQ(kind(0), SceneSection::shape);
  EXPECT_EQ(kind(1), SceneSection::color);
  EXPECT_EQ(kind(2), SceneSection::moment);
  EXPECT_EQ(file.order.size(), 2u + 5 + 3 + 5);
  EXPECT_EQ(file.head["sections"], file.order.size());
  EXPECT_EQ(static_cast<SceneSection>(file.order.back().first), SceneSection::own_color);
}

// Where 16 bits do not reach with the step that was asked for, it grows.
TEST(SceneFile, StepsReachTheLargestValue) {
  Scene scene = sample();
  scene.positions[5] = 300;
  scene.sh_rest[7] = -900;
  scene.gain_bias[3] = 80;
  const auto file = test::take_apart(encoded(scene));
  const double step = file.head["steps"]["position"];
  EXPECT_GT(step, 3.2e-4);
  EXPECT_NEAR(test::decode_pose(file, -1).positions[5], 300, step * 0.51);
  EXPECT_NEAR(test::decode_colors(file).sh_rest[7], -900, 0.02);
  EXPECT_NEAR(test::decode_colors(file).gain_bias[3], 80, 0.002);
  EXPECT_NEAR(file.head["steps"]["harmonics"][1].get<double>(), 1 / 128.0, 1e-9) << "another degree";
}

TEST(SceneFile, WhatIsNotFiniteBecomesSomethingFinite) {
  Scene scene = sample();
  scene.moments[1].positions[4] = NAN;
  scene.moments[2].log_scales[2] = -INFINITY;
  scene.sh_dc[0] = INFINITY;
  const auto file = test::take_apart(encoded(scene));
  EXPECT_TRUE(std::isfinite(test::decode_pose(file, 1).positions[4]));
  EXPECT_TRUE(std::isfinite(test::decode_pose(file, 2).log_scales[2]));
  EXPECT_NEAR(test::decode_pose(file, 3).positions[0], scene.moments[3].positions[0], 2e-4);
}

TEST(SceneFile, OneMomentAndNoOwnColoursAreEnough) {
  Scene scene = sample();
  scene.moments.resize(1);
  scene.moments[0].gain_bias.clear();
  scene.moments[0].opacities.clear();
  scene.sh_degree = 0;
  const auto file = test::take_apart(encoded(scene));
  EXPECT_EQ(file.order.size(), 3u);
  EXPECT_EQ(file.head["own_colors"], false);
  expect_within(test::decode_pose(file, 0).positions, scene.moments[0].positions, 1.6e-4);
}

TEST(SceneFile, MomentsComeFromTheEndsToTheGaps) {
  for (const int count : {0, 1, 2, 3, 8, 25, 100}) {
    std::set<int> seen;
    for (const MomentStep& step : moment_order(count)) {
      for (const int from : step.from) EXPECT_TRUE(seen.count(from)) << count;
      if (step.from.size() == 2) {
        EXPECT_TRUE(step.from[0] < step.moment && step.moment < step.from[1]);
      }
      EXPECT_TRUE(seen.insert(step.moment).second) << count;
    }
    EXPECT_EQ(static_cast<int>(seen.size()), count);
  }
  const auto order = moment_order(9);
  EXPECT_EQ(order[1].moment, 8);
  EXPECT_EQ(order[2].moment, 4);
}

TEST(SceneFile, ItStopsWhenItIsTold) {
  const Scene scene = sample();
  EXPECT_ERROR(encode_scene(
                   scene, {}, [](const std::string&) {}, [] { return true; }),
               "stopped");
}

// The page's tests read a file that was written here; EG4D_WRITE_SAMPLE=1 writes it anew.
TEST(SceneFile, ThePagesTestsReadWhatIsWritten) {
  const std::filesystem::path path = test::test_data() / "view" / "sample.scene";
  const std::string written = encoded(sample());
  if (std::getenv("EG4D_WRITE_SAMPLE")) test::write_text(path, written);
  const auto ours = test::take_apart(written), theirs = test::take_apart(test::read_text(path));
  auto head = theirs.head;
  head["program"] = ours.head["program"];
  EXPECT_EQ(head, ours.head);
  EXPECT_EQ(theirs.order, ours.order);
  EXPECT_TRUE(theirs.contents == ours.contents) << "packed bytes may differ from zlib to zlib, contents not";
}

}  // namespace
}  // namespace eg4d
