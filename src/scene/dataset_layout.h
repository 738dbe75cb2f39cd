#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/matrix.h"
#include "scene/camera.h"

namespace eg4d {

// One picture of a multi-view video.
struct DatasetFrame {
  std::filesystem::path file;  // found on disk, with its extension
  Matrix4 camera_to_world;     // OpenGL axes
  double time = 0;             // as stored, not yet normalised
  int time_index = -1;         // -1: not given
  int view_index = -1;
  Intrinsics intrinsics;
  int width = 0, height = 0;  // as it is used; the file's, unless the layout has them scaled
};

struct DatasetSplit {
  std::string name;
  std::vector<DatasetFrame> frames;
};

// What a folder in another layout than D-NeRF's says. Its times are in [0,1].
struct DatasetLayout {
  std::map<std::string, DatasetSplit> splits;
  std::vector<std::filesystem::path> sources;  // the files that say it
  std::optional<float> half_width;             // of the cube of random first points
};

}  // namespace eg4d
