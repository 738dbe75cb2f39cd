#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
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
  int width = 0, height = 0;  // of the picture, from its header
};

// transforms_<name>.json of the D-NeRF layout.
struct DatasetSplit {
  std::string name;
  std::vector<DatasetFrame> frames;
};

// A folder in the D-NeRF layout that EG4D's data preparation writes: transforms_<split>.json with
// camera_angle_x (or fl_x, fl_y, cx, cy, w, h; also per frame) and frames of file_path (with or without
// extension), time in any unit, transform_matrix.
class Dataset {
 public:
  // Throws Error when the folder is not a dataset.
  explicit Dataset(std::filesystem::path folder);

  const std::filesystem::path& folder() const { return folder_; }
  std::vector<std::string> split_names() const;  // those that have a JSON, sorted
  bool has_split(const std::string& name) const;
  // Whether the two splits' files say the same.
  bool same_split(const std::string& a, const std::string& b) const;

  // Reads one split and checks every picture's presence, header and size (all of one size) and every camera;
  // kept, so that asking again costs nothing and sees no change on the disk. Throws Error that names the file
  // and what to do.
  const DatasetSplit& read_split(const std::string& name) const;

  // A 64-bit hash (FNV-1a) of all transforms files and of the names, sizes and contents of train's pictures:
  // tells whether a run folder belongs to this dataset. Throws Error when one of them cannot be read.
  uint64_t fingerprint() const;

  // The largest time of train and test (the published normalisation); 1 when it is 0.
  double largest_time() const;

 private:
  DatasetSplit read_from_disk(const std::string& name) const;
  std::filesystem::path folder_;
  mutable std::map<std::string, DatasetSplit> read_;
};

// Parses the JSON text of a split; file names are resolved against `folder` but not opened. For read_split
// and the fuzzer.
DatasetSplit parse_transforms(std::string_view json, const std::filesystem::path& folder,
                              const std::string& name);

}  // namespace eg4d
