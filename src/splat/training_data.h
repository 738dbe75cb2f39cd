#pragma once

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
};

using TrainingViews = std::vector<TrainingView>;

}  // namespace eg4d
