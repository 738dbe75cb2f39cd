#pragma once

#include <array>
#include <map>

#include "splat/gaussians.h"

namespace eg4d {

// Gaussians in training: values, Adam's moments and step counts, and what density control measures. Their
// memory only grows (Tensor::set_rows), and moves between tensors of one width when density control changes
// their number.
struct TrainedGaussians {
  Gaussians values, first_moments, second_moments;
  std::array<int64_t, 6> steps{};  // Adam steps taken, per parameter tensor
  Tensor gradient_sum;             // [N] summed norm of the screen-space gradient
  Tensor views;                    // [N] pictures that saw it
  Tensor max_radii;                // [N] pixels
  Tensor importance;               // [N,3] as DecideDensity takes it; undefined where it is not measured

  explicit TrainedGaussians(Gaussians start, bool measures_importance = false);
  // Copies would share memory that density control rebuilds.
  TrainedGaussians(TrainedGaussians&&) = default;
  TrainedGaussians& operator=(TrainedGaussians&&) = default;

  int64_t count() const { return values.count(); }
  Backend& backend() const { return values.positions.backend(); }
  void reset_statistics();

  // Working memory of density control.
  struct Buffers {
    Tensor fates, rows, totals, normals;
    std::map<int64_t, Tensor>
        spare;  // by floats per Gaussian: where the next tensor of this width is rebuilt
  } buffers;
};

// One event of density control by the rules of 3D Gaussian splatting (Kerbl et al. 2023, section 5.2):
// decisions and rows are device work (backend/density_ops.h), only the new number of Gaussians comes to the
// host. Scales are compared by their logarithms and opacities by their logits: against the published
// comparison that changes decisions in rounding alone.
struct DensityRules {
  // Clone or split Gaussians whose mean screen-space gradient (0 where nothing saw it) is at least
  // `gradient`: those whose largest scale is at most `dense_scale` (scene units) get a copy; larger ones are
  // replaced by two at places drawn from the Gaussian, their scales divided by 1.6. Resets the statistics,
  // also when nothing was selected.
  bool grow = false;
  float gradient = 0, dense_scale = 0;
  // The noise of split Gaussians (SplitNoise); streams with different numbers are independent.
  uint64_t seed = 0, stream = 0;
  // Only those grow that make errors of this sum (absolute error of a pixel, 0 to 1, times the share in it).
  float error = 0;

  // Remove Gaussians, among them new ones, that are fainter than `opacity`, or whose place, size, rotation or
  // opacity is NaN or infinite (those do not grow either); by size, too, those wider than `screen_radius` in
  // any picture since the statistics were reset (pixels) or with a scale above `scale` (scene units). The
  // last Gaussian always stays.
  bool prune = false;
  float opacity = 0.005f;
  bool by_size = false;
  float screen_radius = 0, scale = 0;
  // Also those that make fewer pixels. This and `error` are sums over the pictures that importance was
  // measured in, which every event resets.
  float weight = 0;
};
// Numbers of the Gaussians before. What would have grown and then been removed counts as removed.
struct DensityChange {
  int64_t cloned = 0, split = 0, removed = 0;
};
// The order afterwards: those that stay, copies, first parts of split ones, second parts; each in the order
// before. New Gaussians start with zero moments.
DensityChange control_density(TrainedGaussians& gaussians, const DensityRules& rules);

// opacity = min(opacity, limit), moments of the opacities zeroed.
void reset_opacity(TrainedGaussians& gaussians, float limit);

}  // namespace eg4d
