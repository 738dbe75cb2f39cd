#pragma once

#include <array>
#include <functional>
#include <vector>

#include "splat/gaussians.h"

namespace eg4d {

// Gaussians in training: values, Adam's moments and step counts, and what density control measures.
// The set of Gaussians changes by the rules of 3D Gaussian splatting (Kerbl et al. 2023, section 5.2);
// decisions are made on the host, rows move on the device.
struct TrainedGaussians {
  Gaussians values, first_moments, second_moments;
  std::array<int64_t, 6> steps{};  // Adam steps taken, per parameter tensor
  Tensor gradient_sum;             // [N] summed norm of the screen-space gradient
  Tensor views;                    // [N] pictures that saw it
  Tensor max_radii;                // [N] pixels

  TrainedGaussians() = default;
  explicit TrainedGaussians(Gaussians start);
  int64_t count() const { return values.count(); }
  void reset_statistics();
  // Mean screen-space gradient; 0 where nothing saw the Gaussian.
  std::vector<float> mean_gradients() const;
};

// Appends a copy of every Gaussian with gradient ≥ threshold and largest scale ≤ scale_limit (scene units).
// Copies start with zero moments. Resets the statistics, also when nothing was selected. Returns how many
// were added.
int64_t clone_gaussians(TrainedGaussians& gaussians, const std::vector<float>& gradients, float threshold,
                        float scale_limit);

// Replaces every Gaussian with gradient ≥ threshold and largest scale > scale_limit by two: positions drawn
// from the Gaussian, scales divided by 1.6; appended as [all first, all second], the originals removed.
// `gradients` may be shorter than N (clones of the same pass have none). `normal` draws N(0,1). Resets the
// statistics.
int64_t split_gaussians(TrainedGaussians& gaussians, const std::vector<float>& gradients, float threshold,
                        float scale_limit, const std::function<float()>& normal);

struct PruneRule {
  float opacity = 0.005f;   // below: removed
  bool by_size = false;     // apply the next two
  float screen_radius = 0;  // pixels, above: removed
  float scale = 0;          // scene units, above: removed
};
// Gaussians whose place, size or opacity is NaN or infinite are removed, too. Never removes the last
// Gaussian.
int64_t prune_gaussians(TrainedGaussians& gaussians, const PruneRule& rule);

// opacity = min(opacity, limit), moments of the opacities zeroed.
void reset_opacity(TrainedGaussians& gaussians, float limit);

}  // namespace eg4d
