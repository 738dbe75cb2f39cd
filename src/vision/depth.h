#pragma once

#include <filesystem>
#include <vector>

#include "io/image.h"
#include "vision/dpt.h"

namespace eg4d {

// A picture's depth map with DPT-Hybrid, as depth ControlNets take it: what the public example of the
// diffusers library does.
class DepthEstimator {
 public:
  // weights: a .safetensors file, what torch.save wrote (pytorch_model.bin), or the folder of one of them,
  // whose config.json is read. Throws Error when they are not DPT-Hybrid's.
  DepthEstimator(Backend& backend, const std::filesystem::path& weights, const NetworkType& type = {});

  // [height,width] in [0,1], in 8-bit steps; the nearest pixel is 1, the farthest 0; all 0 where everything
  // is equally far. The picture (RGB) is resized to the network's size (bicubic), the result to width ×
  // height (bicubic) before its range is stretched.
  std::vector<float> depth_map(const Picture& picture, int width, int height);

 private:
  DptHybrid network_;
  std::unique_ptr<PreparedFunction> call_;
};

// DPT-Hybrid's settings, from the config.json in its folder; the published ones where that is not DPT's.
DptHybrid::Options read_dpt_options(const std::filesystem::path& folder, const NetworkType& type = {});
// The weights of DPT-Hybrid, checked; throws Error.
WeightMap read_dpt_weights(const std::filesystem::path& file_or_folder);

}  // namespace eg4d
