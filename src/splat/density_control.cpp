#include "splat/density_control.h"

#include <algorithm>
#include <cmath>

namespace eg4d {
namespace {

constexpr int kParts = 2;  // pieces of a split
constexpr float kSplitScale = 0.8f * kParts;

// Rebuilds every tensor from rows of the old ones: values from `index`, moments and statistics from
// `moment_index` (-1: zeros, for new Gaussians).
void take_rows(TrainedGaussians& g, const std::vector<int32_t>& index,
               const std::vector<int32_t>& moment_index) {
  Backend& backend = g.values.positions.backend();
  const int64_t count = static_cast<int64_t>(index.size());
  const Tensor rows = Tensor::from_host<int32_t>(backend, {count}, index);
  const Tensor moment_rows = Tensor::from_host<int32_t>(backend, {count}, moment_index);
  auto gather = [&](Tensor& tensor, const Tensor& from_rows) {
    Shape shape = tensor.shape();
    const int64_t row_bytes =
        static_cast<int64_t>(size_of(tensor.dtype())) * tensor.count() / std::max<int64_t>(shape[0], 1);
    shape[0] = count;
    const Tensor taken = Tensor::empty(backend, shape, tensor.dtype());
    backend.run(GatherRows{taken.raw(), tensor.raw(), from_rows.data<int32_t>(), count, row_bytes});
    tensor = taken;
  };
  for (Tensor* tensor : g.values.tensors()) gather(*tensor, rows);
  for (Tensor* tensor : g.first_moments.tensors()) gather(*tensor, moment_rows);
  for (Tensor* tensor : g.second_moments.tensors()) gather(*tensor, moment_rows);
  for (Tensor* tensor : {&g.gradient_sum, &g.views, &g.max_radii}) gather(*tensor, moment_rows);
}

std::vector<int32_t> iota(int64_t count) {
  std::vector<int32_t> index(static_cast<size_t>(count));
  for (size_t i = 0; i < index.size(); ++i) index[i] = static_cast<int32_t>(i);
  return index;
}

float largest_scale(const std::vector<float>& log_scales, size_t i) {
  return std::exp(std::max({log_scales[3 * i], log_scales[3 * i + 1], log_scales[3 * i + 2]}));
}

// False for a Gaussian that went astray: nothing shows it, and no gradient would bring it back.
bool has_place(const std::vector<float>& positions, const std::vector<float>& log_scales,
               const std::vector<float>& quaternions, size_t i) {
  const auto finite = [](float value) { return std::isfinite(value); };
  return std::all_of(&positions[3 * i], &positions[3 * i] + 3, finite) &&
         std::all_of(&log_scales[3 * i], &log_scales[3 * i] + 3, finite) &&
         std::all_of(&quaternions[4 * i], &quaternions[4 * i] + 4, finite);
}

// R(q)·v with q = w,x,y,z, normalised here; a quaternion of zeros turns nothing, as in the renderer.
std::array<float, 3> rotate(const float* quaternion, const std::array<float, 3>& v) {
  const float norm = std::max(std::sqrt(quaternion[0] * quaternion[0] + quaternion[1] * quaternion[1] +
                                        quaternion[2] * quaternion[2] + quaternion[3] * quaternion[3]),
                              1e-12f);
  const float w = quaternion[0] / norm, x = quaternion[1] / norm, y = quaternion[2] / norm,
              z = quaternion[3] / norm;
  return {(1 - 2 * (y * y + z * z)) * v[0] + 2 * (x * y - w * z) * v[1] + 2 * (x * z + w * y) * v[2],
          2 * (x * y + w * z) * v[0] + (1 - 2 * (x * x + z * z)) * v[1] + 2 * (y * z - w * x) * v[2],
          2 * (x * z - w * y) * v[0] + 2 * (y * z + w * x) * v[1] + (1 - 2 * (x * x + y * y)) * v[2]};
}

}  // namespace

TrainedGaussians::TrainedGaussians(Gaussians start) : values(std::move(start)) {
  Backend& backend = values.positions.backend();
  first_moments = Gaussians::zeros(backend, values.count());
  second_moments = Gaussians::zeros(backend, values.count());
  reset_statistics();
}

void TrainedGaussians::reset_statistics() {
  Backend& backend = values.positions.backend();
  for (Tensor* tensor : {&gradient_sum, &views, &max_radii}) *tensor = Tensor::zeros(backend, {count()});
}

std::vector<float> TrainedGaussians::mean_gradients() const {
  std::vector<float> sums = gradient_sum.to_host();
  const std::vector<float> counts = views.to_host();
  for (size_t i = 0; i < sums.size(); ++i) sums[i] = counts[i] > 0 ? sums[i] / counts[i] : 0.0f;
  return sums;
}

int64_t clone_gaussians(TrainedGaussians& g, const std::vector<float>& gradients, float threshold,
                        float scale_limit) {
  const std::vector<float> scales = g.values.log_scales.to_host();
  std::vector<int32_t> index = iota(g.count()), moments = index;
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (!(gradients[i] >= threshold) || !(largest_scale(scales, i) <= scale_limit)) continue;
    index.push_back(static_cast<int32_t>(i));
    moments.push_back(-1);
  }
  const int64_t added = static_cast<int64_t>(index.size()) - g.count();
  if (added > 0) take_rows(g, index, moments);
  g.reset_statistics();
  return added;
}

int64_t split_gaussians(TrainedGaussians& g, const std::vector<float>& gradients, float threshold,
                        float scale_limit, const std::function<float()>& normal) {
  std::vector<float> scales = g.values.log_scales.to_host();
  const std::vector<float> positions = g.values.positions.to_host();
  const std::vector<float> quaternions = g.values.quaternions.to_host();
  std::vector<int32_t> selected, index;
  for (size_t i = 0; i < static_cast<size_t>(g.count()); ++i) {
    const bool split =
        i < gradients.size() && gradients[i] >= threshold && largest_scale(scales, i) > scale_limit;
    (split ? selected : index).push_back(static_cast<int32_t>(i));
  }
  if (selected.empty()) {
    g.reset_statistics();
    return 0;
  }
  const size_t kept = index.size();
  std::vector<int32_t> moments = index;
  for (int part = 0; part < kParts; ++part)
    for (int32_t i : selected) {
      index.push_back(i);
      moments.push_back(-1);
    }
  take_rows(g, index, moments);

  std::vector<float> new_positions = g.values.positions.to_host(), new_scales = g.values.log_scales.to_host();
  for (size_t row = kept; row < index.size(); ++row) {
    const size_t i = static_cast<size_t>(index[row]);
    std::array<float, 3> sample;
    for (size_t axis = 0; axis < 3; ++axis) sample[axis] = std::exp(scales[3 * i + axis]) * normal();
    const auto offset = rotate(&quaternions[4 * i], sample);
    for (size_t axis = 0; axis < 3; ++axis) {
      new_positions[3 * row + axis] = positions[3 * i + axis] + offset[axis];
      new_scales[3 * row + axis] = std::log(std::exp(scales[3 * i + axis]) / kSplitScale);
    }
  }
  g.values.positions.copy_from_host(new_positions.data(), g.values.positions.bytes());
  g.values.log_scales.copy_from_host(new_scales.data(), g.values.log_scales.bytes());
  g.reset_statistics();
  return static_cast<int64_t>(selected.size());
}

int64_t prune_gaussians(TrainedGaussians& g, const PruneRule& rule) {
  const std::vector<float> logits = g.values.opacity_logits.to_host(), scales = g.values.log_scales.to_host();
  const std::vector<float> radii = g.max_radii.to_host();
  const std::vector<float> positions = g.values.positions.to_host(),
                           quaternions = g.values.quaternions.to_host();
  std::vector<int32_t> keep;
  for (size_t i = 0; i < logits.size(); ++i) {
    const float opacity = 1 / (1 + std::exp(-logits[i]));
    const bool visible = std::isfinite(logits[i]) && opacity >= rule.opacity;
    const bool large =
        rule.by_size && (radii[i] > rule.screen_radius || largest_scale(scales, i) > rule.scale);
    if (visible && !large && has_place(positions, scales, quaternions, i))
      keep.push_back(static_cast<int32_t>(i));
  }
  if (keep.empty() && !logits.empty()) keep.push_back(0);
  const int64_t removed = g.count() - static_cast<int64_t>(keep.size());
  if (removed > 0) take_rows(g, keep, keep);
  return removed;
}

void reset_opacity(TrainedGaussians& g, float limit) {
  std::vector<float> logits = g.values.opacity_logits.to_host();
  for (float& logit : logits) {
    const float opacity = std::min(1 / (1 + std::exp(-logit)), limit);
    logit = std::log(opacity / (1 - opacity));
  }
  g.values.opacity_logits.copy_from_host(logits.data(), g.values.opacity_logits.bytes());
  g.first_moments.opacity_logits.fill_zero();
  g.second_moments.opacity_logits.fill_zero();
}

}  // namespace eg4d
