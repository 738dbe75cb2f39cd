#pragma once

// The scenes on which rasterisers are measured.

#include <cstdlib>
#include <filesystem>

#include "support/raster_scenes.h"

namespace eg4d::bench {

struct SceneSize {
  int64_t count;       // of Gaussians
  float median_scale;  // of a scene that is generated
  int width, height;
  const char* file;  // in $EG4D_BENCH_DIR; null: it has none
};
constexpr const char *kSceneOf20k = "scene_20k.safetensors", *kSceneOf100k = "scene_100k.safetensors";

// From its file, or generated where that is not there.
inline test::RasterScene<float> load_scene(const SceneSize& size) {
  if (const char* folder = std::getenv("EG4D_BENCH_DIR"); folder && size.file) {
    const std::filesystem::path path = std::filesystem::path(folder) / size.file;
    if (std::filesystem::exists(path)) return test::scene_from_file(path, size.width, size.height);
  }
  return test::ball_scene(size.count, size.median_scale, size.width, size.height);
}

}  // namespace eg4d::bench
