#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/matrix.h"
#include "io/mapped_file.h"
#include "io/ply.h"
#include "scene/dataset_layout.h"

namespace eg4d {

// A COLMAP reconstruction (https://colmap.github.io/format.html): a static scene.

struct ColmapCamera {
  double width = 0, height = 0;     // pixels
  double focal_x = 0, focal_y = 0;  // pixels
};

struct ColmapImage {
  std::string name;  // under images/
  int32_t camera = 0;
  Matrix4 world_to_camera;  // x right, y down, z forward
};

// The contents of the three files, as text (.txt) or not (.bin); `name` begins the messages. Cameras of the
// pinhole, simple radial and OpenCV models are taken, their distortion and principal point left out, as the
// published readers do. Throw Error, one sentence.
std::map<int32_t, ColmapCamera> parse_colmap_cameras(Bytes file, bool is_text, const std::string& name);
std::vector<ColmapImage> parse_colmap_images(Bytes file, bool is_text, const std::string& name);
PointCloud parse_colmap_points(Bytes file, bool is_text, const std::string& name);

// FOLDER/sparse/0 and the pictures in FOLDER/images: sorted by name, every eighth is of the split "test", the
// others of "train"; time 0. Throws Error.
DatasetLayout read_colmap(const std::filesystem::path& folder);

// points3D.bin or .txt of a reconstruction's folder; empty where there is none.
PointCloud read_colmap_points(const std::filesystem::path& reconstruction);

}  // namespace eg4d
