#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "nn/tensor.h"
#include "scene/camera.h"

namespace eg4d {

// One picture with its camera. The picture waits in device memory as 8-bit RGB [H,W,3], already composited.
struct TrainingView {
  Camera camera;
  float time = 0;  // normalised, [0,1]
  Tensor picture;
  std::string name;  // the file, relative to the dataset, for reports
  // [H,W,4] in host memory, for backgrounds that change (data.random_background); else empty.
  std::vector<uint8_t> rgba{};
};

using TrainingViews = std::vector<TrainingView>;

struct RenderSize {
  int width = 0, height = 0;
  auto operator<=>(const RenderSize&) const = default;
};

// The largest width and the largest height.
inline RenderSize largest_picture(const TrainingViews& views) {
  RenderSize largest;
  for (const TrainingView& view : views) {
    largest.width = std::max(largest.width, view.camera.width);
    largest.height = std::max(largest.height, view.camera.height);
  }
  return largest;
}

}  // namespace eg4d
