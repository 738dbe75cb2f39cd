#pragma once

#include <filesystem>

#include "core/progress.h"
#include "models/model_store.h"
#include "pipeline/sampling_options.h"
#include "pipeline/video_painter.h"

namespace eg4d {

class Backend;

// Stage I-b as a resumable job: every frame of a video is painted from all sides of an orbit.
struct MultiviewJob {
  std::filesystem::path video;          // run folder, folder of frames, or video file
  std::filesystem::path output;         // run folder; the dataset goes to <output>/multiviews
  ModelLocation model;                  // sv3d_p, sv3d_u or a sibling
  std::filesystem::path models_folder;  // where matting's weights are looked for first
  MultiviewOptions options;
  VideoNetworks* networks = nullptr;  // the model's, when they are in memory already
  bool overwrite = false;             // start anew although the folder holds results
  bool overwrite_other = false;       // the same where they are of other settings
};

struct MultiviewResult {
  std::filesystem::path dataset;  // in the D-NeRF layout: multiviews/, or what was interpolated from it
  int frames = 0;
  bool already_done = false;
};

// Killed at any moment, the same call continues. Throws Interrupted on Ctrl-C, Error when the video or the
// weights do not fit, or when the folder holds views of other settings.
MultiviewResult multiview(Backend& backend, const MultiviewJob& job, Progress& progress);

// Throws the Error that multiview() would when the folder holds views of other settings, whatever the video.
// Nothing is written and no weights are read.
void check_views(const MultiviewJob& job);

// What is painted for frames that have their final size; without the folder for the state.
PaintJob views_painting(VideoCheckpoint::Kind kind, const MultiviewOptions& options,
                        std::vector<Picture> inputs);

}  // namespace eg4d
