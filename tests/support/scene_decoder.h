#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace eg4d::test {

// A scene file (view/scene_file.h) taken apart, for tests.
struct SceneFileParts {
  nlohmann::json head;
  std::vector<std::pair<uint32_t, uint32_t>> order;               // kind and index of each section
  std::map<std::pair<uint32_t, uint32_t>, std::string> contents;  // unpacked
};
SceneFileParts take_apart(const std::string& file);

// One moment (or the canonical pose) as the page decodes it.
struct DecodedPose {
  std::vector<float> positions, log_scales, quaternions;  // [N,3], [N,3], [N,4]
};
DecodedPose decode_pose(const SceneFileParts& file, int moment);  // -1: the canonical pose
// Colours of degree 0, gain and bias, opacities at the reference time; coefficients [N,15,3].
struct DecodedColors {
  std::vector<float> sh_dc, gain_bias, opacities, sh_rest;
};
DecodedColors decode_colors(const SceneFileParts& file);
// Gain and bias [N,4] of a moment's own time.
std::vector<float> decode_own_colors(const SceneFileParts& file, int moment);

}  // namespace eg4d::test
