#include "scene/camera_path.h"

#include <gtest/gtest.h>

#include <cmath>

#include "scene/camera.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"

namespace eg4d {
namespace {

CameraPath parse(const std::string& text) {
  return parse_camera_path(text, "'keys.json'");
}

TEST(CameraPath, RunsThroughItsKeysAndNowhereElse) {
  const CameraPath path = parse(R"({"keys": [
    {"azimuth": 0, "elevation": 10, "distance": 4, "target": [0, 0, 1], "roll": 3, "fov": 40, "seconds": 0, "time": 0},
    {"azimuth": 90, "elevation": 20, "distance": 2, "seconds": 1, "time": 1},
    {"azimuth": 60, "elevation": -80, "seconds": 4, "time": 0.5}]})");
  EXPECT_DOUBLE_EQ(path.seconds(), 4);
  const auto first = path.at(0, 7, 50), second = path.at(1, 7, 50), last = path.at(4, 7, 50);
  EXPECT_DOUBLE_EQ(first.camera.target[2], 1);
  EXPECT_DOUBLE_EQ(first.camera.roll, 3);
  EXPECT_NEAR(first.camera.fov, 40, 1e-9);
  EXPECT_NEAR(second.camera.azimuth, 90, 1e-9);
  EXPECT_NEAR(second.camera.distance, 2, 1e-9);
  EXPECT_NEAR(second.camera.fov, 50, 1e-9);
  EXPECT_NEAR(last.camera.distance, 7, 1e-9);  // not said: the caller's
  EXPECT_NEAR(last.camera.elevation, -80, 1e-9);
  EXPECT_NEAR(*path.at(0.25, 7, 50).time, 0.25, 1e-9);
  EXPECT_NEAR(*path.at(2.5, 7, 50).time, 0.75, 1e-9);
  // Elevations stay within what a camera can have, also where the curve would overshoot.
  for (int i = 0; i <= 400; ++i) EXPECT_LE(std::abs(path.at(i * 0.01, 7, 50).camera.elevation), 90);
}

// Equal steps between keys are an even turn, as an orbit's.
TEST(CameraPath, EvenKeysTurnEvenly) {
  const CameraPath path = parse(R"({"keys": [{"azimuth": 0}, {"azimuth": 40}, {"azimuth": 80}]})");
  for (int i = 0; i <= 20; ++i) EXPECT_NEAR(path.at(i * 0.1, 4, 40).camera.azimuth, 4.0 * i, 1e-9) << i;
}

TEST(CameraPath, ALoopClosesByTheNearerWay) {
  const CameraPath path =
      parse(R"({"loop": true, "keys": [{"azimuth": 0}, {"azimuth": 120}, {"azimuth": 240}]})");
  EXPECT_DOUBLE_EQ(path.seconds(), 3);
  for (int i = 0; i <= 30; ++i) EXPECT_NEAR(path.at(i * 0.1, 4, 40).camera.azimuth, 12.0 * i, 1e-6) << i;
}

TEST(CameraPath, RollTurnsTheCameraAboutItsLineOfSight) {
  LookingCamera camera;
  camera.distance = 4;
  camera.azimuth = 30;
  const Matrix4 level = camera.camera_to_world();
  const Matrix4 orbit = orbit_camera_to_world(30, 0, 4);
  for (int i = 0; i < 16; ++i)
    EXPECT_DOUBLE_EQ(level.m[static_cast<size_t>(i)], orbit.m[static_cast<size_t>(i)]);
  camera.roll = 90;
  const Matrix4 rolled = camera.camera_to_world();
  for (int row = 0; row < 3; ++row) {
    EXPECT_NEAR(rolled(row, 0), level(row, 1), 1e-12);  // what was up is right
    EXPECT_NEAR(rolled(row, 1), -level(row, 0), 1e-12);
    EXPECT_DOUBLE_EQ(rolled(row, 3), level(row, 3));
  }
}

TEST(CameraPath, WhatIsWrongIsNamed) {
  EXPECT_ERROR(parse("no"), "'keys.json'");
  for (const char* text : {"[]", "{}", R"({"keys": 3})", R"({"keys": []})"})
    EXPECT_ERROR(parse(text), "has no list 'keys'");
  EXPECT_ERROR(parse(R"({"keys": [3]})"), "'keys.json', key 0 is not an object");
  EXPECT_ERROR(parse(R"({"keys": [{}]})"), "key 0 has no 'azimuth'");
  EXPECT_ERROR(parse(R"({"keys": [{"azimuth": "north"}]})"), "'azimuth' is not a number from -36000");
  EXPECT_ERROR(parse(R"({"keys": [{"azimuth": 1e308}]})"), "'azimuth' is not a number from -36000");
  EXPECT_ERROR(parse(R"({"keys": [{"azimuth": 0, "elevation": 91}]})"), "'elevation' is not a number");
  EXPECT_ERROR(parse(R"({"keys": [{"azimuth": 0, "distance": 0}]})"), "'distance' is not a number");
  EXPECT_ERROR(parse(R"({"keys": [{"azimuth": 0, "target": [0, 0]}]})"), "list of three numbers");
  EXPECT_ERROR(parse(R"({"keys": [{"azimuth": 0, "target": [0, null, 0]}]})"), "'target' is not a number");
  EXPECT_ERROR(parse(R"({"keys": [{"azimuth": 0, "radius": 4}]})"),
               "'radius' is not known; known are azimuth");
  EXPECT_ERROR(parse(R"({"keys": [{"azimuth": 0, "seconds": 1}]})"), "first key's 'seconds' is not 0");
  EXPECT_ERROR(parse(R"({"keys": [{"azimuth": 0, "seconds": 0}, {"azimuth": 0, "seconds": 0}]})"),
               "key 1: 'seconds' does not grow");
  EXPECT_ERROR(parse(R"({"keys": [{"azimuth": 0}, {"azimuth": 0, "seconds": 2}]})"),
               "all keys have 'seconds'");
  EXPECT_ERROR(parse(R"({"keys": [{"azimuth": 0, "time": 0}, {"azimuth": 0}]})"), "all keys have a 'time'");
  EXPECT_ERROR(parse(R"({"keys": [{"azimuth": 0}], "loop": 1})"), "'loop' is not true or false");
  std::string many = R"({"keys": [{"azimuth": 0})";
  for (size_t i = 0; i < kMostKeyCameras; ++i) many += R"(,{"azimuth": 0})";
  EXPECT_ERROR(parse(many + "]}"), "has 10001 keys; at most 10000");
  test::TemporaryFolder folder;
  EXPECT_ERROR(read_camera_path(folder / "none.json"), "none.json");
}

}  // namespace
}  // namespace eg4d
