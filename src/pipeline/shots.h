#pragma once

#include <filesystem>
#include <vector>

#include "pipeline/render.h"
#include "scene/camera.h"

namespace eg4d {

// One frame to render.
struct Shot {
  Camera camera;
  float time = 0;
  std::filesystem::path truth;  // the dataset's picture of this camera and time; empty: there is none
};

// What the job asks for: an orbit, the dataset's cameras, or a path. At least one; all of one size, which is
// the pictures' (not supersampled). Throws Error (no such split, an unreadable path).
std::vector<Shot> make_shots(const RenderJob& job, const ModelInfo& info);

}  // namespace eg4d
