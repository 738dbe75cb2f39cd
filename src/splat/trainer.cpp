#include "splat/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <new>

#include "core/error.h"
#include "random/random.h"
#include "splat/evaluation.h"

namespace eg4d {
namespace {

constexpr uint64_t kFieldStream = 3, kSplitStream = 4;
constexpr int kAverageInterval = 10;  // iterations between two samples of the running mean

}  // namespace

Trainer::Trainer(Backend& backend, const ReconstructOptions& options, const TrainingViews& views,
                 const PointCloud& start, double extent, Lpips* lpips)
    : backend_(backend),
      options_(options),
      views_(views),
      largest_(largest_picture(views)),
      extent_(extent),
      lpips_(options.loss.lpips != 0 ? lpips : nullptr),
      schedule_(views, options.schedule, options.seed),
      renderer_(backend, render_options(options)),
      gaussians_(gaussians_from_points(backend, start, options.start.opacity, options.start.scale),
                 options.density.error > 0 || options.density.prune_weight > 0),
      field_(backend, options),
      inputs_(backend, kPlannedIterations * options.schedule.views, options.schedule.views),
      losses_(Tensor::zeros(backend, {5}, DType::f64)) {
  if (views.empty()) throw Error("there are no training pictures");
  for (const TrainingView& view : views)
    if (options.data.random_background && view.rgba.empty())
      throw Error("data.random_background needs the pictures' transparency");
  check_lpips();
  plan_lpips();
  Philox random(options.seed, kFieldStream << 56);
  field_.initialize(start.positions, random);
  begin_stage(Stage::coarse);
  if (options_.schedule.coarse_iterations == 0) begin_stage(Stage::fine);
}

void Trainer::check_lpips() const {
  if (options_.loss.lpips == 0) return;
  if (!lpips_) throw Error("loss.lpips is not 0, but no LPIPS network was given");
  const int divisor = options_.schedule.random_resolution ? ViewSchedule::kLargestDivisor : 1;
  for (const TrainingView& view : views_) {
    const int side = std::min(view.camera.width, view.camera.height) / divisor;
    if (side < lpips_->smallest_side())
      throw Error(fmt::format(
          "loss.lpips compares pictures of at least {} pixels a side, and the training pictures of {}×{} are "
          "rendered down to {}: set loss.lpips to 0{}",
          lpips_->smallest_side(), view.camera.width, view.camera.height, side,
          divisor > 1 ? " or schedule.random_resolution to false" : ""));
  }
}

int64_t Trainer::total_iterations() const {
  return int64_t{options_.schedule.coarse_iterations} + options_.schedule.fine_iterations;
}

int64_t Trainer::total_done() const {
  return iteration_ + (stage_ == Stage::fine ? options_.schedule.coarse_iterations : 0);
}

bool Trainer::finished() const {
  return total_done() >= total_iterations();
}

// Every stage starts with fresh moments, statistics and iteration count; the SH degree stays.
void Trainer::begin_stage(Stage stage) {
  stage_ = stage;
  iteration_ = 0;
  gaussians_.first_moments = Gaussians::zeros(backend_, gaussians_.count());
  gaussians_.second_moments = Gaussians::zeros(backend_, gaussians_.count());
  gaussians_.steps.fill(0);
  gaussians_.reset_statistics();
  measured_pictures_ = 0;
  const bool fine = stage == Stage::fine;
  auto fresh = [&](const Tensor& parameter) {
    if (!fine) return Moments{};
    return Moments{Tensor::zeros(backend_, parameter.shape()), Tensor::zeros(backend_, parameter.shape()), 0};
  };
  grid_moments_ = fresh(field_.grid);
  box_moments_ = fresh(field_.box);
  network_moments_ = fresh(field_.network);
  fresh_gaussian_gradients();
  gradients_.grid = gradients_.box = gradients_.network = {};
  if (fine) {
    gradients_.grid = Tensor::zeros(backend_, field_.grid.shape());
    gradients_.box = Tensor::zeros(backend_, field_.box.shape());
    gradients_.network = Tensor::zeros(backend_, field_.network.shape());
  }
  forget_prepared();
}

void Trainer::fresh_gaussian_gradients() {
  const auto shapes = Gaussians::shapes(gaussians_.count());
  const auto tensors = gradients_.gaussians.tensors();
  for (size_t i = 0; i < shapes.size(); ++i) {
    *tensors[i] = {};
    gaussian_gradients_[i].resize(backend_, shapes[i]);
    *tensors[i] = gaussian_gradients_[i].tensor();
    tensors[i]->fill_zero();
  }
}

// The next iteration will be planned and recorded anew.
void Trainer::forget_prepared() {
  gradient_recordings_.clear();
  update_recording_.reset();
  planned_.clear();
  taken_ = 0;
}

// ---------------------------------------------------------------- preparing

// Forward and backward pass of the iteration, with memory for the largest picture there is.
void Trainer::replay_gradients(const Plan& plan) {
  const auto [width, height] = largest_;
  bool moved = renderer_.reserve(gaussians_.values, active_field(), true, width, height);
  const Shape pixels{height, width, 3};
  moved |= target_.resize(backend_, pixels);
  moved |= d_image_.resize(backend_, pixels);
  if (gaussians_.importance.defined()) moved |= errors_.resize(backend_, pixels);
  if (moved) {
    gradient_recordings_.clear();
    update_recording_.reset();
  }
  const Kind kind{plan.sizes, gaussians_.values.active_sh_degree, iteration_ < options_.density.until,
                  measures_importance()};
  std::unique_ptr<Recording>& recording = gradient_recordings_[kind];
  if (!recording) recording = backend_.record([this, plan, kind] { accumulate_gradients(plan, kind); });
  backend_.replay(*recording);
  if (kind.statistics && kind.importance) measured_pictures_ += static_cast<int64_t>(plan.views.size());
}

void Trainer::step() {
  const auto too_many = [this] {
    const bool capped = backend_.memory_use().cap != 0;
    return OutOfMemory(
        fmt::format("there is not enough memory for {} Gaussians; set density.max_gaussians to a number that "
                    "fits, or use smaller pictures{}",
                    gaussians_.count(), capped ? ", or give --memory more" : ""));
  };
  try {
    iterate();
  } catch (const OutOfMemory&) {
    throw too_many();
  } catch (const std::bad_alloc&) {
    throw too_many();
  }
}

void Trainer::iterate() {
  if (stage_ == Stage::coarse && iteration_ == options_.schedule.coarse_iterations) begin_stage(Stage::fine);
  ++iteration_;
  Gaussians& values = gaussians_.values;
  if (iteration_ % options_.gaussian.sh_interval == 0)
    values.active_sh_degree = std::min(values.active_sh_degree + 1, options_.gaussian.sh_degree);

  replay_gradients(next_plan());

  replaced_.fill(false);
  const bool keep = options_.schedule.skip_last_update && stage_ == Stage::fine &&
                    iteration_ == options_.schedule.fine_iterations;
  if (options_.density.after_update && !keep) replay_update();
  control_density();
  if (!options_.density.after_update && !keep) replay_update();
  update_mean();
}

// Whether this iteration is one of the last before an event.
bool Trainer::measures_importance() const {
  const auto& rule = options_.density;
  if (!gaussians_.importance.defined() || stage_ != Stage::fine) return false;
  for (const int interval : {rule.interval, rule.prune_interval}) {
    const int64_t event = (iteration_ + interval - 1) / interval * interval;
    if (event > rule.from && event < rule.until && event - iteration_ < rule.measured) return true;
  }
  return false;
}

void Trainer::accumulate_gradients(const Plan& plan, const Kind& kind) {
  const auto count = static_cast<int64_t>(plan.sizes.size());
  backend_.run(inputs_.next(count));
  renderer_.deform(gaussians_.values, active_field(), inputs_.now(), false, true);
  for (int64_t i = 0; i < count; ++i)
    accumulate_view(inputs_.now(i), plan.sizes[static_cast<size_t>(i)], kind);
  renderer_.deform_backward(gradients_);
}

// Renders one picture, adds its gradients and measures what density control wants to know. Losses of several
// pictures are summed: Adam does not see the scale, and the screen-space gradients keep that of one picture.
void Trainer::accumulate_view(const IterationInputs* row, RenderSize size, const Kind& kind) {
  const auto [width, height] = size;
  target_.resize(backend_, {height, width, 3});
  d_image_.resize(backend_, {height, width, 3});
  ResizePicture resize;
  resize.picture = &row->picture;
  resize.out_width = width;
  resize.out_height = height;
  resize.out = target_.data();
  backend_.run(resize);

  const Renderer::View& rendered = renderer_.render(width, height, row);
  ImageLoss loss;
  loss.width = width;
  loss.height = height;
  loss.image = rendered.image.data();
  loss.target = target_.data();
  loss.l1_weight = 1;
  loss.dssim_weight = options_.loss.dssim;
  loss.d_image = d_image_.data();
  loss.values = losses_.data<double>();
  backend_.run(loss);
  if (lpips_) {
    const Shape batch{1, height, width, 3};
    Tensor distance = losses_.part(4, {1});
    distance.fill_zero();
    lpips_->measure(*lpips_arena_, rendered.image.reshaped(batch), target_.tensor().reshaped(batch), distance,
                    options_.loss.lpips, d_image_.tensor().reshaped(batch));
  }
  renderer_.render_backward(d_image_.tensor(), gradients_);
  if (!kind.statistics) return;
  if (kind.importance) {
    errors_.resize(backend_, {height, width, 3});
    backend_.run(ErrorImage{int64_t{width} * height, rendered.image.data(), target_.data(), errors_.data()});
    renderer_.weigh(errors_.tensor(), gaussians_.importance);
  }
  DensityStatistics seen;
  seen.count = gaussians_.count();
  seen.d_means_ndc = renderer_.d_means_ndc().data();
  seen.radii = rendered.radii.data<int32_t>();
  seen.gradient_sum = gaussians_.gradient_sum.data();
  seen.views = gaussians_.views.data();
  seen.max_radii = gaussians_.max_radii.data();
  backend_.run(seen);
}

// ---------------------------------------------------------------- density, parameters

// In the fine stage from `first` to `after` over the iterations of density control; below 0: not given.
float Trainer::threshold(float first, float coarse, float after) const {
  if (stage_ == Stage::coarse) return coarse < 0 ? first : coarse;
  if (after < 0) return first;
  const double share = static_cast<double>(iteration_) / std::max(options_.density.until, 1);
  return static_cast<float>(first - share * (static_cast<double>(first) - static_cast<double>(after)));
}

void Trainer::control_density() {
  const auto& rule = options_.density;
  const int64_t before = gaussians_.count();
  const int prune_from = rule.prune_from < 0 ? rule.from : rule.prune_from;
  if (iteration_ < rule.until && iteration_ > std::min(rule.from, prune_from)) {
    DensityRules event;
    event.grow = iteration_ > rule.from && iteration_ % rule.interval == 0 &&
                 (rule.max_gaussians == 0 || before < rule.max_gaussians);
    event.gradient = threshold(rule.gradient, rule.gradient_coarse, rule.gradient_after);
    event.dense_scale = rule.dense_scale * static_cast<float>(extent_);
    event.seed = options_.seed;
    event.stream =
        kSplitStream << 56 | static_cast<uint64_t>(stage_) << 48 | static_cast<uint64_t>(iteration_);
    event.prune = iteration_ > prune_from && iteration_ % rule.prune_interval == 0;
    event.opacity = threshold(rule.prune_opacity, rule.prune_opacity_coarse, rule.prune_opacity_after);
    event.by_size = iteration_ > rule.prune_size_from;
    event.screen_radius = rule.prune_radius;
    event.scale = rule.prune_scale * static_cast<float>(extent_);
    const auto pictures = static_cast<float>(measured_pictures_);
    event.error = rule.error * pictures;
    event.weight = rule.prune_weight * pictures;
    if (event.grow || event.prune) {
      eg4d::control_density(gaussians_, event);
      measured_pictures_ = 0;
      replaced_.fill(true);
    }
  }
  const bool periodic = rule.reset_interval > 0 && iteration_ % rule.reset_interval == 0;
  const bool at_start =
      rule.reset_at_start && options_.data.background == Background::white && iteration_ == rule.from;
  if ((periodic || at_start) && iteration_ < rule.reset_until) {
    reset_opacity(gaussians_, rule.reset_opacity);
    replaced_[5] = true;
  }
  // New tensors have no gradient yet.
  if (replaced_[0])
    fresh_gaussian_gradients();
  else if (replaced_[5])
    gradients_.gaussians.opacity_logits.fill_zero();
  if (replaced_ != std::array<bool, 6>{}) forget_prepared();
}

Adam Trainer::adam(const Tensor& parameter, const Tensor& gradient, const Moments& moments, int rate) const {
  Adam adam;
  adam.count = parameter.count();
  adam.parameter = parameter.data();
  adam.gradient = gradient.data();
  adam.first_moment = moments.first.data();
  adam.second_moment = moments.second.data();
  adam.rate = &inputs_.now()->rates[rate];
  return adam;
}

// One Adam step of everything but the tensors that density control replaced in this iteration.
void Trainer::update_parameters() {
  const auto parameters = gaussians_.values.tensors(), gradients = gradients_.gaussians.tensors();
  const auto first = gaussians_.first_moments.tensors(), second = gaussians_.second_moments.tensors();
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (replaced_[i]) continue;
    const Moments moments{*first[i], *second[i], 0};
    backend_.run(adam(*parameters[i], *gradients[i], moments, static_cast<int>(i)));
  }
  if (stage_ != Stage::fine) return;
  HexPlaneAdam grid;
  grid.context = &renderer_.field_context(field_);
  grid.adam = adam(field_.grid, gradients_.grid, grid_moments_, kGridRate);
  const float views = static_cast<float>(options_.schedule.views);  // the pictures' losses are summed
  grid.plane_smoothness = options_.regularization.plane_smoothness * views;
  grid.time_smoothness = options_.regularization.time_smoothness * views;
  grid.time_l1 = options_.regularization.time_l1 * views;
  backend_.run(grid);
  backend_.run(adam(field_.network, gradients_.network, network_moments_, kNetworkRate));
  if (options_.hexplane.train_box) backend_.run(adam(field_.box, gradients_.box, box_moments_, kBoxRate));
}

void Trainer::replay_update() {
  if (replaced_ != std::array<bool, 6>{}) {
    update_parameters();  // as it is this once
  } else {
    if (!update_recording_) update_recording_ = backend_.record([this] { update_parameters(); });
    backend_.replay(*update_recording_);
  }
  for (size_t i = 0; i < replaced_.size(); ++i)
    if (!replaced_[i]) ++gaussians_.steps[i];
  if (stage_ != Stage::fine) return;
  ++grid_moments_.steps;
  ++network_moments_.steps;
  if (options_.hexplane.train_box) ++box_moments_.steps;
}

// The mean of every tenth state from schedule.average_from on: it evens out the noise that single pictures
// leave.
void Trainer::update_mean() {
  const int from = options_.schedule.average_from;
  if (from < 0 || stage_ != Stage::fine || iteration_ < from || iteration_ % kAverageInterval != 0) return;
  const bool restart = averaged_ == 0 || mean_gaussians_.count() != gaussians_.count() || replaced_[0];
  if (restart) {
    mean_gaussians_ = gaussians_.values.clone();
    mean_field_ = field_.clone();
    averaged_ = 1;
    return;
  }
  const float weight = 1.0f / static_cast<float>(++averaged_);
  auto move = [&](const Tensor& mean, const Tensor& value) {
    backend_.run(MoveTowards{mean.data(), value.data(), weight, mean.count()});
  };
  const auto means = mean_gaussians_.tensors(), values = gaussians_.values.tensors();
  for (size_t i = 0; i < means.size(); ++i) move(*means[i], *values[i]);
  mean_gaussians_.active_sh_degree = gaussians_.values.active_sh_degree;
  move(mean_field_.grid, field_.grid);
  move(mean_field_.box, field_.box);
  move(mean_field_.network, field_.network);
}

NamedMoments Trainer::color_moments() const {
  const TrainedGaussians& g = gaussians_;
  NamedMoments moments{{"sh_dc", {g.first_moments.sh_dc, g.second_moments.sh_dc, g.steps[1]}},
                       {"sh_rest", {g.first_moments.sh_rest, g.second_moments.sh_rest, g.steps[2]}},
                       {"grid", grid_moments_}};
  if (options_.hexplane.train_box) moments["box"] = box_moments_;
  return moments;
}

Trainer::LossValues Trainer::last_loss() const {
  const std::vector<double> values = losses_.to_host<double>();
  LossValues loss;
  loss.l1 = values[0];
  loss.ssim = values[1];
  loss.psnr = psnr_of(values[2]);
  loss.lpips = values[4];
  return loss;
}

}  // namespace eg4d
