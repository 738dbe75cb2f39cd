#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "splat/model.h"

namespace eg4d {

// A 4D object as the page of `eg4d view` shows it, in host memory: what the rasteriser takes, at several
// moments, before it becomes a scene file (view/scene_file.h).

// Where the Gaussians are at one time, and their colours as of that time.
struct SceneMoment {
  float time = 0;                  // in [0,1]
  std::vector<float> positions;    // [N,3]
  std::vector<float> log_scales;   // [N,3]
  std::vector<float> quaternions;  // [N,4] w,x,y,z, unit length, each in the half of the canonical one
  std::vector<float> gain_bias;    // [N,4] of this time; empty where it is not wanted
  std::vector<float> opacities;    // [N] of this time; empty where they do not change
};

struct Scene {
  int64_t count = 0;  // N
  int sh_degree = 0;  // 0…3
  // The canonical pose; what is shown of colour and opacity at the reference time.
  std::vector<float> positions, log_scales, quaternions;  // [N,3], [N,3], [N,4] unit length
  std::vector<float> sh_dc, sh_rest;                      // [N,3], [N,15,3]
  std::vector<float> gain_bias;                           // [N,4]
  std::vector<float> opacities;                           // [N] in (0,1)
  std::vector<SceneMoment> moments;                       // by time, at least one

  // What the page shows first, and tells.
  ColorTime color_time = ColorTime::reference;
  float reference_time = 0;
  bool white_background = true;
  double fov_x = 0, camera_radius = 0;  // radians, scene units
  int width = 0, height = 0;            // of the training pictures
  int frames = 1;                       // time steps of the training video

  bool has_own_colors() const { return !moments.empty() && !moments.front().gain_bias.empty(); }
  bool has_own_opacities() const { return !moments.empty() && !moments.front().opacities.empty(); }
};

struct SceneOptions {
  int moments = 0;         // times evenly in [0,1]; 0: those of the training video, and one between any two
  bool own_colors = true;  // also the colours of each moment's own time, for a switch
};

// How many moments that asks for. Between two of the training video's moments, the field is not where their
// mean is: shown by 25 moments, times in the middle are 30 to 41 dB from `eg4d render` (robot-192, preset
// fast), by 49 they are 43 to 59 dB, in a file that is 1.6 times as large.
int moment_count(const ModelInfo& info, const SceneOptions& options);

// Evaluates the model at its moments. Gaussians that are seen at none of them are left out; the others are in
// an order in which neighbours are near each other. `stop` is asked once for each moment. Throws Interrupted
// when it says so; Error for a model without Gaussians.
Scene scene_of_model(Backend& backend, const Model& model, const SceneOptions& options,
                     const std::function<bool()>& stop);

}  // namespace eg4d
