// What a Trainer works out before iterations are made: the pictures and sizes they see, and their inputs.

#include <algorithm>
#include <set>

#include "random/random.h"
#include "splat/trainer.h"

namespace eg4d {
namespace {

constexpr uint64_t kBackgroundStream = 9;

// [H,W,4] over one colour, rounded to nearest.
void compose_on_color(const std::vector<uint8_t>& rgba, const uint8_t color[3], std::vector<uint8_t>& rgb) {
  const size_t pixels = rgba.size() / 4;
  rgb.resize(3 * pixels);
  for (size_t i = 0; i < pixels; ++i) {
    const int alpha = rgba[4 * i + 3];
    for (size_t c = 0; c < 3; ++c)
      rgb[3 * i + c] = static_cast<uint8_t>((rgba[4 * i + c] * alpha + color[c] * (255 - alpha) + 127) / 255);
  }
}

RenderSize size_of(const Camera& camera, int divisor) {
  return {std::max(camera.width / divisor, 1), std::max(camera.height / divisor, 1)};
}

}  // namespace

// Working memory for every size that can come up, since recordings hold its addresses.
void Trainer::plan_lpips() {
  if (!lpips_) return;
  lpips_arena_.emplace(backend_);
  std::set<RenderSize> sizes;
  for (const TrainingView& view : views_)
    for (const int divisor : divisors()) sizes.insert(size_of(view.camera, divisor));
  for (const RenderSize& size : sizes) lpips_->plan(*lpips_arena_, {1, size.height, size.width, 3}, true);
}

// By which pictures may be divided.
std::vector<int> Trainer::divisors() const {
  std::vector<int> all{1};
  for (int divisor = 2; options_.schedule.random_resolution && divisor <= ViewSchedule::kLargestDivisor;
       ++divisor)
    all.push_back(divisor);
  return all;
}

Trainer::Plan Trainer::plan_of(int64_t iteration) {
  const bool full_size = !options_.schedule.random_resolution ||
                         (stage_ == Stage::fine && options_.schedule.full_resolution_from >= 0 &&
                          iteration >= options_.schedule.full_resolution_from);
  const int divisor = full_size ? 1 : schedule_.divisor(stage_, iteration);
  Plan plan{schedule_.views(stage_, iteration), {}};
  for (const int view : plan.views)
    plan.sizes.push_back(size_of(views_[static_cast<size_t>(view)].camera, divisor));
  return plan;
}

// Rates and step counts follow from the iteration as long as density control changes nothing; when it does,
// all is planned anew.
void Trainer::add_inputs(const Plan& plan, int64_t iteration, std::vector<IterationInputs>& rows) const {
  const LearningRates rates = learning_rates(options_.rate, iteration, extent_);
  const int64_t later = iteration - iteration_ + 1;  // steps that will have been made
  const float time = views_[static_cast<size_t>(plan.views.front())].time;
  for (const int number : plan.views) {
    const TrainingView& view = views_[static_cast<size_t>(number)];
    IterationInputs row = renderer_.inputs(view.camera, active_field(), time, time);
    row.picture = {view.picture.data<uint8_t>(), view.camera.width, view.camera.height};
    const float gaussian_rates[6] = {rates.position, rates.sh_dc,    rates.sh_rest,
                                     rates.scale,    rates.rotation, rates.opacity};
    for (size_t i = 0; i < 6; ++i) row.rates[i] = adam_rate(gaussian_rates[i], gaussians_.steps[i] + later);
    row.rates[kGridRate] = adam_rate(rates.grid, grid_moments_.steps + later);
    row.rates[kNetworkRate] = adam_rate(rates.network, network_moments_.steps + later);
    row.rates[kBoxRate] = adam_rate(rates.grid, box_moments_.steps + later);
    rows.push_back(row);
  }
}

int64_t Trainer::planned_iterations() const {
  return options_.data.random_background ? kPlannedBackgrounds : kPlannedIterations;
}

// Behind the planned iterations' pictures and renders: a colour that is a function of the iteration.
void Trainer::draw_backgrounds(std::vector<IterationInputs>& rows) {
  composed_.resize(rows.size());
  size_t number = 0;
  std::vector<uint8_t> rgb;
  for (size_t plan = 0; plan < planned_.size(); ++plan) {
    const uint64_t iteration = static_cast<uint64_t>(iteration_) + plan;
    Philox random(options_.seed, kBackgroundStream << 56 | static_cast<uint64_t>(stage_) << 48 | iteration);
    for (const int index : planned_[plan].views) {
      const TrainingView& view = views_[static_cast<size_t>(index)];
      IterationInputs& row = rows[number];
      uint8_t color[3];
      for (int c = 0; c < 3; ++c) {
        color[c] = static_cast<uint8_t>(random.below(256));
        row.camera.background[c] = static_cast<float>(color[c]) / 255;
      }
      compose_on_color(view.rgba, color, rgb);
      ResizableTensor& composed = composed_[number++];
      composed.resize(backend_, view.picture.shape(), DType::u8);
      Tensor picture = composed.tensor();
      picture.copy_from_host(rgb.data(), rgb.size());
      row.picture.pixels = picture.data<uint8_t>();
    }
  }
}

const Trainer::Plan& Trainer::next_plan() {
  if (taken_ == planned_.size()) {
    planned_.clear();
    taken_ = 0;
    const int64_t last =
        stage_ == Stage::fine ? options_.schedule.fine_iterations : options_.schedule.coarse_iterations;
    std::vector<IterationInputs> rows;
    for (int64_t i = iteration_; i <= std::max(last, iteration_) && i < iteration_ + planned_iterations();
         ++i) {
      planned_.push_back(plan_of(i));
      add_inputs(planned_.back(), i, rows);
    }
    if (options_.data.random_background) draw_backgrounds(rows);
    inputs_.upload(rows);
  }
  return planned_[taken_++];
}

}  // namespace eg4d
