#pragma once

#include <filesystem>
#include <string>

#include "core/progress.h"
#include "pipeline/open_model.h"

namespace eg4d {

class Backend;

// A camera that circles the origin while time passes; everything runs linearly from its first to its last
// value over the frames. A full turn ends one step before its start, so that the video can loop.
struct OrbitPath {
  double azimuth_from = 0, azimuth_to = 360;    // degrees
  double elevation_from = 0, elevation_to = 0;  // degrees
  double radius = 0;                            // scene units; 0: as the training cameras
  double time_from = 0, time_to = 1;            // in [0,1]
  bool back = true;                             // time runs forward in the first half and back in the second
  int frames = 100;
};

// What stands behind the object.
enum class RenderBackground {
  as_trained,  // the colour that the model was trained on
  white,
  black,
  transparent,  // pictures and videos with alpha
};

struct RenderJob {
  std::filesystem::path model;  // what open_model takes
  ModelChoice choice;
  // *.mp4 (no alpha), *.webm, *.mov, or a folder for frame_0000.png, …
  std::filesystem::path output;
  bool reference_folders = false;  // a folder as the Python program fills it (frame_output.h)
  bool webp = false;               // a folder's pictures are lossless WebP
  OrbitPath orbit;
  std::string split;  // not empty: the cameras and times of this split of the dataset instead of the orbit
  // Not empty, instead of both: "video" (all views of train and test, walked through while time runs forward
  // and back, as published), "eg4d" (the published orbit: 3 × 25 frames), or a JSON of key cameras
  // (scene/camera_path.h), whose times are the orbit's unless its keys say them.
  std::filesystem::path path;
  int path_frames = 0;            // of key cameras; 0: their seconds × fps
  std::filesystem::path dataset;  // empty: the one the model was trained on
  bool truth = false;             // with a split: the dataset's picture beside the rendered one
  bool depth = false;             // depth instead of colour: grey, near is bright
  bool normals = false;           // the way surfaces face instead of colour (frame_pictures.h)
  RenderBackground background = RenderBackground::as_trained;
  int supersample = 1;  // pictures are rendered so many times larger and averaged
  // Unless cameras are the dataset's; 0: as the training pictures (the published orbit: 576).
  int width = 0, height = 0;
  double fps = 20;
};

struct RenderResult {
  int frames = 0;
  int width = 0, height = 0;            // as they were asked for
  int file_width = 0, file_height = 0;  // of the file: a video's sides are even
  std::string encoder = {};             // of a video, as FFmpeg calls it
  int removed = 0;  // older numbered pictures in the folder that would have stood behind the new ones
};

// Renders a model. Throws Error, Interrupted.
RenderResult render_model(Backend& backend, const RenderJob& job, Progress& progress);

}  // namespace eg4d
