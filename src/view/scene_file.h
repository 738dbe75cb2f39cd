#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "view/scene.h"

namespace eg4d {

// What a scene becomes for the page: docs/viewer.md describes the format. Values are whole multiples of a
// step, so that no number is off by more than half of it; what a moment's section holds is how it differs
// from the mean of two moments that came before it. First comes what a first picture needs, then moments in
// an order in which the gaps between them are halved again and again, so that all of the time line can be
// shown from early on.

// The steps. A step grows where 16 bits would not reach from the smallest to the largest value.
struct SceneSteps {
  float position =
      0;  // scene units; 0: 4e-5 of the camera's distance, a fiftieth of a pixel of a large window
  float log_scale = 0.02f;
  float quaternion = 1 / 512.0f;
  float opacity = 1 / 1023.0f;
  float sh_dc = 1 / 256.0f;
  float sh_rest = 1 / 128.0f;
  float color = 1 / 512.0f;  // of gain and bias
};

inline constexpr std::string_view kSceneMagic = "EG4DVIEW";
inline constexpr uint32_t kSceneVersion = 1;

enum class SceneSection : uint32_t {
  shape = 1,      // the canonical pose
  color = 2,      // degree 0, gain and bias, opacity at the reference time
  moment = 3,     // index: of the moment
  harmonics = 4,  // index: the degree, from 1
  own_color = 5,  // index: of the moment
};

// One part of the order in which moments are sent: `from` holds the one or two earlier ones that it is told
// apart from; the first is told apart from the canonical pose.
struct MomentStep {
  int moment = 0;
  std::vector<int> from;
};
// First, last, then the middle of the largest gaps.
std::vector<MomentStep> moment_order(int count);

// Calls `emit` with the file, piece by piece, each as soon as it is ready: the head, then one piece for each
// section. `stop` is asked now and then; throws Interrupted when it says so.
void encode_scene(const Scene& scene, const SceneSteps& steps,
                  const std::function<void(std::string piece)>& emit, const std::function<bool()>& stop);

}  // namespace eg4d
