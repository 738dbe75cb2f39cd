#pragma once

#include <cstdint>
#include <string>

#include "core/config.h"
#include "diffusion/attention_injection.h"
#include "diffusion/conditioning.h"
#include "diffusion/edm_sampler.h"
#include "diffusion/step_cache.h"
#include "nn/network_type.h"
#include "picture/input_picture.h"
#include "scene/frame_interpolation.h"

namespace eg4d {

// What both video models are sampled with. The defaults are those of SVD-XT in EG4D.
struct SamplingOptions {
  uint64_t seed = 23;
  std::string rng = "philox";
  NetworkPrecision precision = NetworkPrecision::automatic;
  FeedForwardProducts feed_forward = FeedForwardProducts::same;
  EdmSchedule schedule{.steps = 30};
  StepCache cache;
  float guidance_min = 1.5f, guidance_max = 3;
  int decode_frames = 1;
  ByteRounding rounding = ByteRounding::truncate;  // of what is painted, as published

  void bind(ConfigSchema& schema);
};

// Stage I-a, picture to video (SVD).
struct AnimateOptions {
  SamplingOptions sampling;
  int frames = 25;
  int side = 576;  // the picture is resized to side × side; 0 keeps its size, cut down to multiples of 64
  SvdMotion motion;
  double fps = 10;  // of video.mp4

  void bind(ConfigSchema& schema);
};
// paper (SVD-XT), svd (the 14-frame model's own settings), lcm (a UNet that was distilled to few steps), mini
const PresetTexts& animate_presets();

// Stage I-b, every video frame to an orbit of views (SV3D with attention injection).
struct MultiviewOptions {
  MultiviewOptions() {
    sampling.schedule.steps = 50;
    sampling.guidance_min = 1;
    sampling.guidance_max = 2.5f;
  }

  SamplingOptions sampling;
  int views = 21;
  int side = 576;
  double elevation = 0;  // degrees
  double cond_aug = kSv3dConditioningNoise;
  bool keep_bg = true;
  std::string matting = "u2net";  // a name of the catalogue or a file; where keep_bg is off
  bool alpha_matting = true;
  Recentre recentre = Recentre::none;
  double image_frame_ratio = 0;  // 0: none
  bool injection = true;
  AttentionInjection::Options injection_options;
  bool same_noise = false;  // published: other noise for every frame
  int max_frames = 200;
  // 2 or more: further datasets with so many times the views or time steps.
  int interpolate_views = 1, interpolate_times = 1;
  std::string interpolation_model = "rife-v4.6";
  OrbitEnd interpolation_orbit = OrbitEnd::closed;
  double fps = 10;  // of the previews

  void bind(ConfigSchema& schema);
  // The parts of it: what multiviews/ depends on, and what is for the datasets made of that.
  void bind_painting(ConfigSchema& schema);
  void bind_interpolation(ConfigSchema& schema);
};
const PresetTexts& multiview_presets();

// Throw UsageError for what could not be painted, or not be interpolated here, before any weights are read.
// `section` stands before the settings' names in the message: "animate.".
void check_options(const AnimateOptions& options, const std::string& section = "");
void check_options(const MultiviewOptions& options, const std::string& section = "");

}  // namespace eg4d
