#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include "core/progress.h"
#include "diffusion/guidance.h"
#include "diffusion/video_networks.h"
#include "io/image.h"
#include "pipeline/sampling_options.h"

namespace eg4d {

// Videos of `frames` pictures, each painted by SVD or SV3D from one input picture.
struct PaintJob {
  std::vector<Picture> inputs;  // RGB, all of one size: one video each
  int frames = 0;
  double cond_aug = 0;
  std::vector<float> vector;  // condition, [frames, vector width]
  GuidanceShape guidance = GuidanceShape::linear;
  SamplingOptions sampling;
  std::optional<AttentionInjection::Options> injection;  // of the first video into the later ones
  bool same_noise = false;                               // all videos start from the first one's noise
  bool last_is_input = false;                            // SV3D: the last frame is the input picture itself
  // For conditions.safetensors and latents.safetensors, which a later call continues from; removed at the
  // end.
  std::filesystem::path state_folder;
};

// Where the pictures go. Pictures that are there already (of an earlier call) are not decoded again. `write`
// is called by several threads at once, for different pictures.
struct PictureSink {
  std::function<bool(int video, int frame)> has;
  std::function<void(int video, int frame, const Picture& picture)> write;
};

// Conditions of all videos, then all denoising steps in step-major order with the latents written to the
// state folder after each, then decoding; each network is released when it has done its part. Latents and
// pictures are written beside the work: in host memory wait one state of all latents, and pictures of at most
// 64 MiB. Noise is drawn
// up front, video by video: first for the conditioning picture, then for the latents, then what the sampler
// adds between steps (lcm), all in PyTorch's order of axes (channels first). With a step cache the steps from
// one whole step to the next are made, and kept, together. Throws Interrupted when the user asked to stop; a
// later call with the same job then continues, to the same bits.
void paint_videos(Backend& backend, VideoNetworks& networks, const PaintJob& job, const PictureSink& sink,
                  Progress& progress);

// For a stage that was finished and whose folder lacks something now: it is made again, to the same bits.
void tell_of_missing_pictures(const std::filesystem::path& folder, Progress& progress);

}  // namespace eg4d
