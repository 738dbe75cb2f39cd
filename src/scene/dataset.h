#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/ply.h"
#include "scene/dataset_layout.h"

namespace eg4d {

// A data set's folder. Its layout is
// - D-NeRF's, which EG4D's data preparation writes: transforms_<split>.json with camera_angle_x (or fl_x,
// fl_y,
//   cx, cy, w, h; also per frame) and frames of file_path (with or without extension), time in any unit,
//   transform_matrix;
// - or else a COLMAP reconstruction (scene/colmap.h), the Plenoptic Video data set's (scene/dynerf.h), or
//   HyperNeRF's (scene/hypernerf.h).
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

  // The largest time of train and test (the published normalisation); 1 when it is 0, and where the layout
  // has times in [0,1] already.
  double largest_time() const;

  // The first points that come with it: points3d.ply, colmap/0/points3D.bin (or .txt), or those of its
  // layout. Empty when there are none. Throws Error.
  PointCloud start_points() const;
  // Of the cube of random ones, where the layout has its own.
  std::optional<float> start_half_width() const { return layout_.half_width; }

 private:
  DatasetSplit read_from_disk(const std::string& name) const;
  bool is_dnerf() const { return layout_.splits.empty(); }
  std::filesystem::path folder_;
  DatasetLayout layout_;  // of a folder in another layout than D-NeRF's
  mutable std::map<std::string, DatasetSplit> read_;
};

// Whether the folder is in one of the layouts, as far as its files' names tell.
bool is_dataset_folder(const std::filesystem::path& folder);

// Parses the JSON text of a split; file names are resolved against `folder` but not opened. For read_split
// and the fuzzer.
DatasetSplit parse_transforms(std::string_view json, const std::filesystem::path& folder,
                              const std::string& name);

}  // namespace eg4d
