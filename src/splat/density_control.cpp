#include "splat/density_control.h"

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

namespace eg4d {
namespace {

// Limits as the device compares them. Rounding aside, log s > log l where s > l, and the same for logits.
float log_of(float scale) {
  return static_cast<float>(std::log(static_cast<double>(scale)));
}
float logit_of(float opacity) {
  const auto exact = static_cast<double>(opacity);
  return static_cast<float>(std::log(exact / (1 - exact)));
}

// What an event makes of the Gaussians, by number.
struct Totals {
  int64_t kept = 0, cloned = 0, split = 0;
  int64_t count() const { return kept + cloned + 2 * split; }
};

Totals decide(TrainedGaussians& g, const DensityRules& rules) {
  TrainedGaussians::Buffers& buffers = g.buffers;
  buffers.fates.set_rows(g.count());
  buffers.rows.set_rows(2 * g.count());

  DecideDensity decide;
  decide.count = g.count();
  decide.positions = g.values.positions.data();
  decide.log_scales = g.values.log_scales.data();
  decide.quaternions = g.values.quaternions.data();
  decide.opacity_logits = g.values.opacity_logits.data();
  if (rules.grow) {
    decide.gradient_sum = g.gradient_sum.data();
    decide.views = g.views.data();
    decide.gradient = rules.gradient;
    decide.dense_size = log_of(rules.dense_scale);
  }
  decide.prune = rules.prune;
  decide.smallest_logit = logit_of(rules.opacity);
  decide.largest_size = std::numeric_limits<float>::infinity();
  if (rules.by_size) {
    decide.largest_size = log_of(rules.scale);
    // Growing resets the statistics first, as published.
    if (!rules.grow) decide.max_radii = g.max_radii.data();
    decide.largest_radius = rules.screen_radius;
  }
  if (g.importance.defined()) {
    decide.importance = g.importance.data();
    decide.least_error = rules.error;
    decide.least_weight = rules.weight;
  }
  decide.fates = buffers.fates.data<uint8_t>();
  Backend& backend = g.backend();
  backend.run(decide);
  backend.run(
      DensityRows{g.count(), decide.fates, buffers.rows.data<int32_t>(), buffers.totals.data<int32_t>()});
  const std::vector<int32_t> totals = buffers.totals.to_host<int32_t>();  // the one wait of an event
  return {totals[0], totals[1], totals[2]};
}

// Rebuilds a tensor: `taken` rows of it as the list says, then zeros.
void take_rows(TrainedGaussians& g, Tensor& tensor, int64_t width, int64_t taken, int64_t count) {
  Backend& backend = g.backend();
  Tensor& spare = g.buffers.spare[width];
  if (!spare.defined()) spare = Tensor::empty(backend, tensor.shape());
  spare.set_rows(count);
  const int64_t row_bytes = width * static_cast<int64_t>(sizeof(float));
  backend.run(GatherRows{spare.raw(), tensor.raw(), g.buffers.rows.data<int32_t>(), taken, row_bytes});
  if (taken < count)
    backend.run(FillBytes{spare.data() + taken * width, 0, static_cast<size_t>((count - taken) * row_bytes)});
  std::swap(spare, tensor);
}

void take_rows(TrainedGaussians& g, const Totals& totals) {
  const int64_t count = totals.count();
  for (size_t i = 0; i < Gaussians::kWidths.size(); ++i) {
    const int64_t width = Gaussians::kWidths[i];
    take_rows(g, *g.values.tensors()[i], width, count, count);
    take_rows(g, *g.first_moments.tensors()[i], width, totals.kept, count);
    take_rows(g, *g.second_moments.tensors()[i], width, totals.kept, count);
  }
  for (Tensor* tensor : {&g.gradient_sum, &g.views, &g.max_radii})
    take_rows(g, *tensor, 1, totals.kept, count);
  if (g.importance.defined()) g.importance.set_rows(count);
  // The memory that was given away may be too small next time.
  for (auto& [width, spare] : g.buffers.spare) spare.set_rows(count);
}

void place_parts(TrainedGaussians& g, const Totals& totals, const DensityRules& rules) {
  if (totals.split == 0) return;
  Backend& backend = g.backend();
  Tensor& normals = g.buffers.normals;
  const int64_t first = totals.kept + totals.cloned;
  normals.set_rows(2 * totals.split);
  SplitNoise noise;
  noise.count = totals.split;
  noise.rows = g.buffers.rows.data<int32_t>() + first;
  noise.seed = rules.seed;
  noise.stream = rules.stream;
  noise.normals = normals.data();
  backend.run(noise);
  SplitGaussians parts;
  parts.count = 2 * totals.split;
  parts.normals = normals.data();
  parts.quaternions = g.values.quaternions.data() + 4 * first;
  parts.positions = g.values.positions.data() + 3 * first;
  parts.log_scales = g.values.log_scales.data() + 3 * first;
  backend.run(parts);
}

}  // namespace

TrainedGaussians::TrainedGaussians(Gaussians start, bool measures_importance) : values(std::move(start)) {
  first_moments = Gaussians::zeros(backend(), count());
  second_moments = Gaussians::zeros(backend(), count());
  for (Tensor* tensor : {&gradient_sum, &views, &max_radii}) *tensor = Tensor::zeros(backend(), {count()});
  if (measures_importance) importance = Tensor::zeros(backend(), {count(), 3});
  buffers.fates = Tensor::empty(backend(), {0}, DType::u8);
  buffers.rows = Tensor::empty(backend(), {0}, DType::i32);
  buffers.totals = Tensor::empty(backend(), {3}, DType::i32);
  buffers.normals = Tensor::empty(backend(), {0, 3});
}

void TrainedGaussians::reset_statistics() {
  for (Tensor* tensor : {&gradient_sum, &views, &max_radii}) tensor->fill_zero();
  if (importance.defined()) importance.fill_zero();
}

DensityChange control_density(TrainedGaussians& g, const DensityRules& rules) {
  const int64_t before = g.count();
  const Totals totals = decide(g, rules);
  if (totals.kept != before || totals.cloned > 0) {
    take_rows(g, totals);
    place_parts(g, totals, rules);
  }
  if (rules.grow)
    g.reset_statistics();
  else if (g.importance.defined())
    g.importance.fill_zero();
  return {totals.cloned, totals.split, before - totals.kept - totals.split};
}

void reset_opacity(TrainedGaussians& g, float limit) {
  g.backend().run(ClampAbove{g.values.opacity_logits.data(), g.count(), logit_of(limit)});
  g.first_moments.opacity_logits.fill_zero();
  g.second_moments.opacity_logits.fill_zero();
}

}  // namespace eg4d
