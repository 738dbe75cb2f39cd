#include "vision/depth.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "io/network_config.h"
#include "picture/picture_resize.h"
#include "picture/resampling.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

// In place: to [0,1], cut to 8 bits.
void stretch(std::vector<float>& values) {
  const auto [least, largest] = std::minmax_element(values.begin(), values.end());
  const float low = *least, range = *largest - low;
  for (float& value : values) {
    const float share = (value - low) / range;  // NaN where the range is 0 or the network's numbers are none
    value = share > 0 ? std::floor(std::min(share, 1.0f) * 255) / 255 : 0;
  }
}

fs::path weights_file(const fs::path& path) {
  if (!fs::is_directory(path)) return path;
  for (const char* name : {"model.safetensors", "pytorch_model.bin"})
    if (fs::exists(path / name)) return path / name;
  throw Error(
      fmt::format("'{}' has no 'model.safetensors' or 'pytorch_model.bin': give DPT-Hybrid's folder "
                  "or file",
                  path.string()));
}

}  // namespace

WeightMap read_dpt_weights(const fs::path& path) {
  WeightMap weights = read_weights(weights_file(path));
  if (!weights.contains_prefix("dpt.embeddings.backbone.bit."))
    throw Error(
        fmt::format("'{}' is not DPT-Hybrid (tensors 'dpt.embeddings.backbone.bit.*'): give "
                    "dpt_hybrid_midas (\"eg4d models list\")",
                    path.string()));
  DptHybrid::check(weights);
  return weights;
}

DptHybrid::Options read_dpt_options(const fs::path& folder, const NetworkType& type) {
  const NetworkConfig file(folder / "config.json");
  DptHybrid::Options options{.type = type};
  if (file.text("model_type", "") != "dpt") return options;
  if (!file.flag("is_hybrid", true))
    throw Error(
        fmt::format("'{}' is DPT without a residual network; only DPT-Hybrid is built here", file.path()));
  if (file.has("num_attention_heads")) options.heads = file.whole("num_attention_heads", 1);
  const std::vector<int64_t> indices = file.list("backbone_out_indices", 4, 0);
  if (indices.size() == 4) options.taps = {indices[2], indices[3]};
  return options;
}

DepthEstimator::DepthEstimator(Backend& backend, const fs::path& path, const NetworkType& type)
    : network_(backend, read_dpt_weights(path),
               read_dpt_options(fs::is_directory(path) ? path : path.parent_path(), type)) {}

std::vector<float> DepthEstimator::depth_map(const Picture& picture, int width, int height) {
  const auto side = static_cast<int>(network_.picture_size());
  const Picture small =
      resize_picture(compose_on_background(picture, 255), side, side, ResizeFilter::bicubic);
  std::vector<float> values(small.data.size());
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = (static_cast<float>(small.data[i]) / 255 - 0.5f) / 0.5f;
  if (!call_) call_ = network_.prepare({1, side, side, 3});
  std::vector<float> depth = call_->apply(values);
  depth = resample_rows(depth, bicubic_resampling(side, height, false), side);
  depth = resample_columns(depth, bicubic_resampling(side, width, false), 1);
  stretch(depth);
  return depth;
}

}  // namespace eg4d
