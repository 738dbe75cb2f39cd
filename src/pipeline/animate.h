#pragma once

#include <filesystem>

#include "core/progress.h"
#include "models/model_store.h"
#include "pipeline/sampling_options.h"
#include "pipeline/video_painter.h"

namespace eg4d {

class Backend;

// Stage I-a as a resumable job: a picture becomes a video.
struct AnimateJob {
  std::filesystem::path picture;
  std::filesystem::path output;  // run folder; frames go to <output>/video
  ModelLocation model;           // svd, svd_xt, svd_xt_1_1 or a sibling
  AnimateOptions options;
  VideoNetworks* networks = nullptr;  // the model's, when they are in memory already
  bool overwrite = false;             // start anew although the folder holds results
  bool overwrite_other = false;       // the same where they are of other settings
  // A UNet in the place of the model's own (read_video_unet); empty: its own. Not with `networks`.
  std::filesystem::path unet = {};
  // A video (what read_frames takes) in the place of `picture`: nothing is painted, no weights are read, and
  // as many of its frames as `options` says, evenly in time, are the result. Empty: there is none.
  std::filesystem::path video = {};
};

struct AnimateResult {
  std::filesystem::path frames;  // video/, with frame_000.png …
  std::filesystem::path video;   // video.mp4
  bool already_done = false;
};

// Killed at any moment, the same call continues. Throws Interrupted on Ctrl-C, Error when the picture or the
// weights do not fit, or when the folder holds a video of other settings.
AnimateResult animate(Backend& backend, const AnimateJob& job, Progress& progress);

// Throws the Error that animate() would when the folder holds a video of other settings or the picture cannot
// be read. Nothing is written and no weights are read.
void check_animation(const AnimateJob& job);

// What is painted for a picture that has its final size; without the folder for the state.
PaintJob video_painting(const AnimateOptions& options, Picture input);

}  // namespace eg4d
