#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "io/ply.h"
#include "scene/dataset_layout.h"

namespace eg4d {

// Captures of Nerfies and HyperNeRF (Park et al., ICCV and SIGGRAPH Asia 2021): one moving camera.

// What scene.json says: the scene's place in the world of cameras and points.
struct HyperNerfScene {
  double scale = 1, center[3] = {};
};
HyperNerfScene parse_hypernerf_scene(std::string_view json, const std::string& name);

// camera/ID.json: pose and fields of view; its distortion and principal point are left out, as the published
// readers do. Throw Error, one sentence.
DatasetFrame parse_hypernerf_camera(std::string_view json, const HyperNerfScene& scene,
                                    const std::string& name);

// dataset.json, metadata.json, scene.json, camera/ and pictures in rgb/2x (else 1x, 4x). The splits are those
// of train_ids and val_ids, or without the latter every fourth picture and the second after it. Times are
// warp numbers over the largest one. Throws Error.
DatasetLayout read_hypernerf(const std::filesystem::path& folder);

// points.npy in the scene's place, grey; empty where there is none.
PointCloud read_hypernerf_points(const std::filesystem::path& folder);

}  // namespace eg4d
