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

struct RenderJob {
  std::filesystem::path model;  // what open_model takes
  ModelChoice choice;
  std::filesystem::path output;  // *.mp4, or a folder for frame_0000.png, …
  OrbitPath orbit;
  std::string split;  // not empty: the cameras and times of this split of the dataset instead of the orbit
  std::filesystem::path dataset;  // empty: the one the model was trained on
  bool truth = false;             // with a split: the dataset's picture beside the rendered one
  bool depth = false;             // depth instead of colour: grey, near is bright
  int width = 0, height = 0;      // of an orbit; 0: as the training pictures
  double fps = 20;
};

struct RenderResult {
  int frames = 0;
  int width = 0, height = 0;            // as they were asked for
  int file_width = 0, file_height = 0;  // of the file: a video's sides are even
  int removed = 0;  // older numbered pictures in the folder that would have stood behind the new ones
};

// Renders a model. Throws Error, Interrupted.
RenderResult render_model(Backend& backend, const RenderJob& job, Progress& progress);

}  // namespace eg4d
