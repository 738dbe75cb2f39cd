#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "io/npy.h"
#include "scene/dataset_layout.h"

namespace eg4d {

// The Plenoptic Video data set (Li et al., "Neural 3D Video Synthesis from Multi-view Video", CVPR 2022):
// poses_bounds.npy and a folder cam*/images of pictures per camera.

struct DyNerfCamera {
  Matrix4 camera_to_world;  // OpenGL axes, recentred and scaled
  Intrinsics intrinsics;
};

// Of poses_bounds.npy [cameras,17]: the columns down, right, back, position and (height, width, focal length)
// of each, row by row, then the nearest and the farthest depth. The frame that is their mean becomes the
// world's, three quarters of the nearest depth its unit. (The published reader makes the mean frame
// left-handed, so that its world is this one's mirror image.) Throws Error, one sentence.
std::vector<DyNerfCamera> parse_poses_bounds(const NpyArray& array, const std::string& name);

// Camera 0 is of the split "test", the others of "train"; at most 300 pictures each, of which number i has
// time i/300. Pictures wider than 1352 pixels are scaled down to that. Throws Error.
DatasetLayout read_dynerf(const std::filesystem::path& folder);

}  // namespace eg4d
