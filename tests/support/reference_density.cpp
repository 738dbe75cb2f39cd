#include "support/reference_density.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "random/random.h"
#include "support/random_values.h"

namespace eg4d::test {
namespace {

using Rows = HostGaussians::Rows;

enum { kPositions, kLogScales = 3, kQuaternions, kOpacities };

Rows rows_of(const Tensor& tensor, int64_t width) {
  const std::vector<float> values = tensor.to_host();
  Rows rows;
  for (auto at = values.begin(); at != values.end(); at += width) rows.emplace_back(at, at + width);
  return rows;
}

double largest_scale(const std::vector<float>& log_scales) {
  return std::exp(static_cast<double>(*std::max_element(log_scales.begin(), log_scales.end())));
}

bool astray(const HostGaussians& g, size_t i) {
  for (const size_t tensor : {kPositions, kLogScales, kQuaternions, kOpacities})
    for (const float value : g.values[tensor][i])
      if (!std::isfinite(value)) return true;
  return false;
}

// A copy of Gaussian i at the end, whose moments and statistics are zero.
void append_copy(HostGaussians& g, size_t i) {
  for (Rows* rows : g.tensors()) rows->emplace_back((*rows)[i].size(), 0.0f);
  for (Rows& rows : g.values) rows.back() = rows[i];
  g.importance.back() = g.importance[i];  // is forgotten after the event
}

void remove(HostGaussians& g, const std::vector<bool>& gone) {
  for (Rows* rows : g.tensors()) {
    Rows left;
    for (size_t i = 0; i < rows->size(); ++i)
      if (!gone[i]) left.push_back((*rows)[i]);
    *rows = left;
  }
}

void place_part(std::vector<float>& position, std::vector<float>& log_scales, const std::vector<float>& q,
                const std::array<double, 3>& normal) {
  const double norm =
      std::sqrt(double{q[0]} * q[0] + double{q[1]} * q[1] + double{q[2]} * q[2] + double{q[3]} * q[3]);
  const double w = q[0] / norm, x = q[1] / norm, y = q[2] / norm, z = q[3] / norm;
  const double rotation[3][3] = {{1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)},
                                 {2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)},
                                 {2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)}};
  for (size_t row = 0; row < 3; ++row) {
    double offset = 0;
    for (size_t axis = 0; axis < 3; ++axis)
      offset += rotation[row][axis] * std::exp(double{log_scales[axis]}) * normal[axis];
    position[row] = static_cast<float>(position[row] + offset);
  }
  for (float& value : log_scales) value = static_cast<float>(std::log(std::exp(double{value}) / 1.6));
}

void grow(HostGaussians& g, const DensityRules& rules, const SplitNormal& normal) {
  const size_t before = g.count();
  std::vector<bool> chosen(before);
  for (size_t i = 0; i < before; ++i) {
    const float views = g.views[i][0];
    chosen[i] = !astray(g, i) && (views > 0 ? g.gradient_sum[i][0] / views : 0.0f) >= rules.gradient &&
                (g.importance[i].empty() || g.importance[i][1] >= rules.error);
  }
  const auto large = [&](size_t i) {
    return largest_scale(g.values[kLogScales][i]) > double{rules.dense_scale};
  };
  for (size_t i = 0; i < before; ++i)
    if (chosen[i] && !large(i)) append_copy(g, i);
  std::vector<bool> split(g.count());
  for (size_t i = 0; i < before; ++i) split[i] = chosen[i] && large(i);
  for (size_t part = 0; part < 2; ++part)
    for (size_t i = 0; i < before; ++i) {
      if (!split[i]) continue;
      append_copy(g, i);
      place_part(g.values[kPositions].back(), g.values[kLogScales].back(), g.values[kQuaternions][i],
                 {normal(i, part, 0), normal(i, part, 1), normal(i, part, 2)});
    }
  split.resize(g.count());
  remove(g, split);
  for (Rows* rows : {&g.gradient_sum, &g.views, &g.max_radii})
    for (auto& row : *rows) row[0] = 0;
}

void prune(HostGaussians& g, const DensityRules& rules) {
  std::vector<bool> gone(g.count());
  for (size_t i = 0; i < g.count(); ++i) {
    const double opacity = 1 / (1 + std::exp(-double{g.values[kOpacities][i][0]}));
    gone[i] = astray(g, i) || opacity < double{rules.opacity} ||
              (rules.by_size && (g.max_radii[i][0] > rules.screen_radius ||
                                 largest_scale(g.values[kLogScales][i]) > double{rules.scale})) ||
              (!g.importance[i].empty() && g.importance[i][0] < rules.weight);
  }
  remove(g, gone);
}

}  // namespace

std::vector<Rows*> HostGaussians::tensors() {
  std::vector<Rows*> all{&gradient_sum, &views, &max_radii, &importance};
  for (auto* set : {&values, &first_moments, &second_moments})
    for (Rows& rows : *set) all.push_back(&rows);
  return all;
}

HostGaussians download(const TrainedGaussians& gaussians) {
  HostGaussians g;
  for (size_t i = 0; i < 6; ++i) {
    g.values[i] = rows_of(*gaussians.values.tensors()[i], Gaussians::kWidths[i]);
    g.first_moments[i] = rows_of(*gaussians.first_moments.tensors()[i], Gaussians::kWidths[i]);
    g.second_moments[i] = rows_of(*gaussians.second_moments.tensors()[i], Gaussians::kWidths[i]);
  }
  g.gradient_sum = rows_of(gaussians.gradient_sum, 1);
  g.views = rows_of(gaussians.views, 1);
  g.max_radii = rows_of(gaussians.max_radii, 1);
  g.importance = gaussians.importance.defined() ? rows_of(gaussians.importance, 3) : Rows(g.count());
  return g;
}

SplitNormal split_normals(const DensityRules& rules) {
  return [=](size_t gaussian, size_t part, size_t axis) {
    uint32_t words[4];
    Philox::block(rules.seed, rules.stream, 2 * gaussian + part, words);
    const double radius = std::sqrt(-2 * std::log((words[axis & 2] + 1.0) * 0x1p-32));
    const double angle = 2 * std::numbers::pi * (words[axis | 1] * 0x1p-32);
    return static_cast<float>(radius * (axis % 2 ? std::sin(angle) : std::cos(angle)));
  };
}

void reference_density_control(HostGaussians& gaussians, const DensityRules& rules,
                               const SplitNormal& normal) {
  HostGaussians first = gaussians;  // stays where nothing else does
  if (rules.grow) grow(gaussians, rules, normal);
  if (rules.prune) prune(gaussians, rules);
  for (HostGaussians* g : {&gaussians, &first})
    for (auto& row : g->importance) std::fill(row.begin(), row.end(), 0.0f);
  if (gaussians.count() > 0 || first.count() == 0) return;
  std::vector<bool> others(first.count(), true);
  others[0] = false;
  remove(first, others);
  gaussians = first;
  if (rules.grow)
    for (Rows* rows : {&gaussians.gradient_sum, &gaussians.views, &gaussians.max_radii}) (*rows)[0][0] = 0;
}

TrainedGaussians random_gaussians(Backend& backend, int64_t count, uint64_t seed, bool measures_importance) {
  Philox random(seed);
  TrainedGaussians g(Gaussians::zeros(backend, count), measures_importance);
  const auto fill = [&](Tensor& tensor, float low, float high) {
    const std::vector<float> values = uniform_values(random, tensor.count(), low, high);
    tensor.copy_from_host(values.data(), tensor.bytes());
  };
  for (Gaussians* set : {&g.values, &g.first_moments, &g.second_moments})
    for (Tensor* tensor : set->tensors()) fill(*tensor, -1, 1);
  fill(g.values.log_scales, -6, -2);
  fill(g.values.opacity_logits, -6, 6);
  fill(g.gradient_sum, 0, 1);
  fill(g.max_radii, 0, 30);
  if (measures_importance) fill(g.importance, 0, 1);
  std::vector<float> views(static_cast<size_t>(count));
  for (float& value : views) value = static_cast<float>(random.below(5));
  g.views.copy_from_host(views.data(), g.views.bytes());
  // One in fifty went astray, each time in another place.
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN(),
                  kInfinity = std::numeric_limits<float>::infinity();
  Tensor* const places[] = {&g.values.positions, &g.values.log_scales, &g.values.quaternions,
                            &g.values.opacity_logits, &g.gradient_sum};
  for (size_t k = 0; k < std::size(places); ++k) {
    std::vector<float> values = places[k]->to_host();
    for (size_t i = 0; i < values.size(); ++i)
      if (random.below(250) == 0)
        values[i] = random.below(2) ? kNaN : (random.below(2) ? kInfinity : -kInfinity);
    places[k]->copy_from_host(values.data(), places[k]->bytes());
  }
  return g;
}

DensityRules rules_for_random_gaussians() {
  DensityRules rules;
  rules.gradient = 0.3f;
  rules.dense_scale = 0.03f;
  rules.seed = 7;
  rules.stream = 11;
  rules.opacity = 0.02f;
  rules.by_size = true;
  rules.screen_radius = 25;
  rules.scale = 0.1f;
  rules.error = 0.2f;
  rules.weight = 0.1f;
  return rules;
}

}  // namespace eg4d::test
