#include "splat/refinement_trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "core/config.h"
#include "core/error.h"
#include "random/random.h"
#include "splat/evaluation.h"
#include "splat/training_state.h"
#include "vision/lpips.h"

namespace eg4d {
namespace {

constexpr uint64_t kDistillationStream = uint64_t{6} << 56;  // of random numbers; the iteration is added
constexpr int64_t kPlannedIterations = 100;                  // whose inputs are uploaded at once
constexpr const char* kStateFormat = "eg4d-refinement-state-1";

ReconstructOptions::Schedule one_view_at_a_time() {
  ReconstructOptions::Schedule schedule;
  schedule.views = 1;
  return schedule;
}

int64_t iterations_left(const RefinementOptions& options, const ModelInfo& start) {
  if (options.last_iteration == 0) return options.iterations;
  return std::clamp<int64_t>(options.last_iteration - fine_iterations(start), 0, options.iterations);
}

}  // namespace

void RefinementOptions::bind(ConfigSchema& s) {
  s.add("seed", seed, {0, 1e15}, "random seed; the same seed gives the same model");
  s.add("iterations", iterations, {0, 1e9}, "training iterations, one picture each");
  s.add("last_iteration", last_iteration, {0, 1e9},
        "refinement ends here at the latest, counting on from the model's fine iterations; 0: no limit");
  s.add(
      "carry_moments", carry_moments,
      "the optimiser goes on with Stage II's moments and step counts, as published; false: with fresh ones");
  s.add("rate.sh_dc", rate.sh_dc, {0, 10}, "learning rate of the colours");
  s.add("rate.sh_rest_divisor", rate.sh_rest_divisor, {1e-3, 1e9},
        "the colours' dependence on the direction learns so many times slower");
  s.add("rate.grid", rate.grid, {0, 10}, "first learning rate of the hexplane, × extent");
  s.add("rate.grid_final", rate.grid_final, {0, 10}, "last learning rate of the hexplane, × extent");
  s.add("train_network", train_network,
        "the deformation network is trained, too; false: it stays, as published (stop_deform)");
  s.add("rate.network", rate.network, {0, 10},
        "first learning rate of the deformation network, × extent, with train_network");
  s.add("rate.network_final", rate.network_final, {0, 10}, "last one");
  s.add("rate.steps", rate.steps, {1, 1e9}, "iterations of the log-linear decays");
  s.add("rate.offset", rate.offset, {0, 1e9}, "where in that decay the first iteration stands");
  s.add("loss.weight", loss.weight, {0, 1e6}, "of the picture's losses beside the regularisers");
  s.add("loss.l1", loss.l1, {0, 100}, "weight of L1");
  s.add("loss.lpips", loss.lpips, {0, 100},
        "weight of LPIPS (AlexNet); needs AlexNet's and LPIPS' weights (eg4d models list)");
  s.add("loss.dssim", loss.dssim, {0, 100}, "weight of 1-SSIM");
  s.add("loss.dssim_instead", loss.dssim_instead, {0, 100},
        "weight of 1-SSIM where LPIPS is asked for and has no weights");
  s.add("loss.sds", loss.sds, {0, 1e6},
        "weight of score distillation, which asks the diffusion network in every iteration; 0: off");
  s.add(
      "loss.clamp", loss.clamp,
      "the render is clamped to [0,1] before it is compared, as published, so that nothing pulls at what is "
      "brighter than white; score distillation sees it as it is");
  s.add("sds.min_step", sds.min_step, {0, 1}, "score distillation's smallest time step, as a share of all");
  s.add("sds.max_step", sds.max_step, {0, 1}, "its largest time step");
  s.add(
      "sds.sum", sds.sum,
      "gradients of all the latents' numbers are summed, as the published code means to; false: their mean");
  s.add("sds.guidance", sds.guidance, {0, 1000}, "its classifier-free guidance; up to 1 there is none");
  s.add("checkpoint.seconds", checkpoint.seconds, {0.1, 1e9}, "between two checkpoints");
  s.add("checkpoint.models", checkpoint.models, {1, 1e9},
        "iterations, counted on from the fine stage's, after which the model is kept as "
        "refined/iteration_N.safetensors (--iteration N)");
}

RefinementTrainer::RefinementTrainer(Backend& backend, const RefinementOptions& options,
                                     const TrainingViews& views, Model& model, Lpips* lpips,
                                     TargetSource targets, Distiller distiller)
    : backend_(backend),
      options_(options),
      views_(views),
      largest_(largest_picture(views)),
      model_(model),
      lpips_(options.loss.lpips > 0 ? lpips : nullptr),
      targets_(std::move(targets)),
      distiller_(std::move(distiller)),
      schedule_(views, one_view_at_a_time(), options.seed),
      renderer_(backend, render_options(model.info.options)),
      total_iterations_(iterations_left(options, model.info)),
      inputs_(backend, kPlannedIterations, 1),
      losses_(Tensor::zeros(backend, {5}, DType::f64)) {
  if (views.empty()) throw Error("there are no training pictures");
  if (!model.info.deforms)
    throw Error("the model does not move (coarse stage only): refinement needs one of the fine stage");
  Gaussians& values = model_.gaussians;
  Gaussians& gradients = gradients_.gaussians;
  DeformationField& field = model_.field;
  const auto train = [&](const char* name, Tensor& value, Tensor& gradient) {
    gradient = Tensor::zeros(backend, value.shape());
    trained_.push_back({name,
                        &value,
                        &gradient,
                        {Tensor::zeros(backend, value.shape()), Tensor::zeros(backend, value.shape()), 0}});
  };
  train("sh_dc", values.sh_dc, gradients.sh_dc);
  train("sh_rest", values.sh_rest, gradients.sh_rest);
  train("grid", field.grid, gradients_.grid);
  if (model.info.options.hexplane.train_box) train("box", field.box, gradients_.box);
  if (options.train_network) train("network", field.network, gradients_.network);
  if (lpips_) {
    lpips_arena_.emplace(backend);
    std::set<RenderSize> sizes;
    for (const TrainingView& view : views) sizes.insert({view.camera.width, view.camera.height});
    for (const auto& [width, height] : sizes) lpips_->plan(*lpips_arena_, {1, height, width, 3}, true);
  }
}

void RefinementTrainer::carry(const NamedMoments& moments) {
  for (Trained& trained : trained_) {
    const auto found = moments.find(trained.name);
    if (found == moments.end()) continue;
    for (const Tensor* tensor : {&found->second.first, &found->second.second})
      if (tensor->shape() != trained.value->shape())
        throw Error(fmt::format("the optimiser's state of '{}' has shape {}, the model's is {}", trained.name,
                                to_string(tensor->shape()), to_string(trained.value->shape())));
    trained.moments = {found->second.first.clone(), found->second.second.clone(), found->second.steps};
  }
  forget_prepared();
}

// The next iteration will be planned and recorded anew.
void RefinementTrainer::forget_prepared() {
  prepared_.clear();
  planned_.clear();
  taken_ = 0;
}

// ---------------------------------------------------------------- preparing

size_t RefinementTrainer::view_of(int64_t iteration) {
  return static_cast<size_t>(schedule_.views(Stage::fine, iteration).front());
}

// Asks for a view's picture when it first comes up.
void RefinementTrainer::know_target(size_t index) {
  if (known_targets_.contains(index)) return;
  const TrainingView& view = views_[index];
  renderer_.deform(model_.gaussians, &model_.field, view.time, view.time, true);
  const Tensor& image = renderer_.render(view.camera).image;
  Tensor wanted = targets_(index, image);
  if (wanted.shape() != image.shape())
    throw Error(fmt::format("the refined picture of '{}' has another size than the view", view.name));
  known_targets_[index] = std::move(wanted);
}

IterationInputs RefinementTrainer::inputs_of(size_t index, int64_t iteration) const {
  const TrainingView& view = views_[index];
  IterationInputs row = renderer_.inputs(view.camera, &model_.field, view.time, view.time);
  row.picture = {known_targets_.at(index).data<uint8_t>(), view.camera.width, view.camera.height};
  const auto& rate = options_.rate;
  const auto extent = static_cast<float>(model_.info.extent);
  const auto decayed = [&](float first, float last) {
    return log_linear(first * extent, last * extent, iteration - 1 + rate.offset, rate.steps);
  };
  const float grid_rate = decayed(rate.grid, rate.grid_final),
              network_rate = decayed(rate.network, rate.network_final);
  const float rates[] = {rate.sh_dc, rate.sh_dc / rate.sh_rest_divisor, grid_rate, grid_rate};
  for (size_t i = 0; i < trained_.size(); ++i)
    row.rates[i] = adam_rate(trained_[i].value == &model_.field.network ? network_rate : rates[i],
                             trained_[i].moments.steps + iteration - iteration_ + 1);
  return row;
}

// Plans iteration_ and what follows, as far as the pictures are known.
void RefinementTrainer::plan_ahead() {
  planned_.clear();
  taken_ = 0;
  know_target(view_of(iteration_));
  std::vector<IterationInputs> rows;
  for (int64_t i = iteration_;
       i <= std::max(total_iterations_, iteration_) && i < iteration_ + kPlannedIterations; ++i) {
    const size_t index = view_of(i);
    if (!known_targets_.contains(index)) break;
    planned_.push_back(index);
    rows.push_back(inputs_of(index, i));
  }
  inputs_.upload(rows);
}

const RefinementTrainer::Prepared& RefinementTrainer::prepared(RenderSize size) {
  const auto [width, height] = largest_;
  bool moved = renderer_.reserve(model_.gaussians, &model_.field, true, width, height);
  for (ResizableTensor* tensor : {&target_, &clamped_, &d_image_})
    moved |= tensor->resize(backend_, {height, width, 3});
  if (moved) prepared_.clear();
  Prepared& recorded = prepared_[size];
  if (recorded.forward) return recorded;
  recorded.forward = backend_.record([this, size] { forward_pass(size); });
  recorded.image = renderer_.last_image();
  recorded.d_image = d_image_.tensor();
  recorded.backward = backend_.record([this, d_image = recorded.d_image] {
    renderer_.render_backward(d_image, gradients_);
    renderer_.deform_backward(gradients_);
    update_parameters();
  });
  return recorded;
}

// ---------------------------------------------------------------- an iteration

void RefinementTrainer::step() {
  ++iteration_;
  if (taken_ == planned_.size()) plan_ahead();
  const Camera& camera = views_[planned_[taken_++]].camera;
  const Prepared& work = prepared({camera.width, camera.height});
  backend_.replay(*work.forward);
  if (options_.loss.sds > 0) distiller_(work.image, draw_distillation(), work.d_image);
  backend_.replay(*work.backward);
  for (Trained& trained : trained_) ++trained.moments.steps;
}

// Renders and compares; the gradient goes to d_image_.
void RefinementTrainer::forward_pass(RenderSize size) {
  const auto [width, height] = size;
  const Shape pixels{height, width, 3};
  for (ResizableTensor* tensor : {&target_, &clamped_, &d_image_}) tensor->resize(backend_, pixels);
  backend_.run(inputs_.next(1));
  renderer_.deform(model_.gaussians, &model_.field, inputs_.now(), false, true);
  const Tensor& image = renderer_.render(width, height, inputs_.now()).image;
  backend_.run(ResizePicture{&inputs_.now()->picture, width, height, target_.data()});
  if (options_.loss.clamp) {
    backend_.run(CopyBytes{clamped_.data(), image.data(), image.bytes()});
    backend_.run(ClampUnit{clamped_.data(), image.count()});
    measure(clamped_.tensor(), size);
    backend_.run(ClampUnitBackward{image.data(), d_image_.data(), image.count()});
  } else {
    measure(image, size);
  }
}

// Compares the image with target_; its gradient goes to d_image_.
void RefinementTrainer::measure(const Tensor& image, RenderSize size) {
  const RefinementOptions::Loss& weights = options_.loss;
  const bool no_lpips = weights.lpips > 0 && !lpips_;
  ImageLoss loss;
  loss.width = size.width;
  loss.height = size.height;
  loss.image = image.data();
  loss.target = target_.data();
  loss.l1_weight = weights.weight * weights.l1;
  loss.dssim_weight = weights.weight * (weights.dssim + (no_lpips ? weights.dssim_instead : 0));
  loss.d_image = d_image_.data();
  loss.values = losses_.data<double>();
  backend_.run(loss);
  if (lpips_) {
    const Shape batch{1, size.height, size.width, 3};
    Tensor distance = losses_.part(4, {1});
    distance.fill_zero();
    lpips_->measure(*lpips_arena_, image.reshaped(batch), target_.tensor().reshaped(batch), distance,
                    weights.weight * weights.lpips, d_image_.tensor().reshaped(batch));
  }
}

RefinementTrainer::DistillationDraw RefinementTrainer::draw_distillation() const {
  Philox random(options_.seed, kDistillationStream | static_cast<uint64_t>(iteration_));
  const auto& sds = options_.sds;
  DistillationDraw draw;
  draw.share = sds.min_step + (sds.max_step - sds.min_step) * static_cast<double>(random.uniform());
  draw.noise_seed = uint64_t{random.next_u32()} << 32;
  draw.noise_seed |= random.next_u32();
  draw.guidance = sds.guidance;
  draw.weight = options_.loss.weight * options_.loss.sds;
  draw.sum = sds.sum;
  return draw;
}

void RefinementTrainer::update_parameters() {
  for (size_t i = 0; i < trained_.size(); ++i) {
    const Trained& trained = trained_[i];
    Adam adam;
    adam.count = trained.value->count();
    adam.parameter = trained.value->data();
    adam.gradient = trained.gradient->data();
    adam.first_moment = trained.moments.first.data();
    adam.second_moment = trained.moments.second.data();
    adam.rate = &inputs_.now()->rates[i];
    if (trained.value != &model_.field.grid) {
      backend_.run(adam);
      continue;
    }
    const auto& regularization = model_.info.options.regularization;
    HexPlaneAdam grid;
    grid.context = &renderer_.field_context(model_.field);
    grid.adam = adam;
    grid.plane_smoothness = regularization.plane_smoothness;
    grid.time_smoothness = regularization.time_smoothness;
    grid.time_l1 = regularization.time_l1;
    backend_.run(grid);
  }
}

RefinementTrainer::LossValues RefinementTrainer::last_loss() const {
  const std::vector<double> values = losses_.to_host<double>();
  LossValues loss;
  loss.l1 = values[0];
  loss.psnr = psnr_of(values[2]);
  loss.lpips = values[4];
  return loss;
}

std::vector<RefinementTrainer::StatePart> RefinementTrainer::state_parts() {
  std::vector<StatePart> parts;
  for (Trained& trained : trained_) {
    parts.push_back({trained.name, trained.value, true});
    parts.push_back({fmt::format("{}.first_moment", trained.name), &trained.moments.first, false});
    parts.push_back({fmt::format("{}.second_moment", trained.name), &trained.moments.second, false});
  }
  return parts;
}

PreparedFile RefinementTrainer::prepare_state(const std::string& extra) const {
  std::vector<StateTensor> tensors;
  // The tensors are only read; the list is shared with load_state.
  for (const StatePart& part : const_cast<RefinementTrainer*>(this)->state_parts())
    tensors.push_back({part.name, part.tensor, part.parameter});
  std::map<std::string, std::string> numbers{{"iteration", std::to_string(iteration_)}, {"extra", extra}};
  for (const Trained& trained : trained_)
    numbers[fmt::format("{}.steps", trained.name)] = std::to_string(trained.moments.steps);
  return prepare_training_state(kStateFormat, tensors, numbers);
}

std::string RefinementTrainer::load_state(const std::filesystem::path& path) {
  const TrainingStateFile file(path, kStateFormat);
  const auto number = [&](const std::string& name) {
    const std::string& text = file.metadata(name);
    int64_t value = -1;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
    if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || value < 0)
      throw file.damaged(fmt::format("its '{}' cannot be read", name));
    return value;
  };
  const int64_t iteration = number("iteration");
  if (iteration > total_iterations_) throw file.damaged("it has more iterations than there are");
  std::vector<int64_t> steps;
  for (const Trained& trained : trained_) {
    const std::string name = fmt::format("{}.steps", trained.name);
    // Before moments were carried over, every tensor had made as many steps as there were iterations.
    steps.push_back(file.metadata(name).empty() ? iteration : number(name));
  }
  for (const StatePart& part : state_parts()) file.check(part.name, part.tensor->shape(), part.parameter);

  // Everything fits: only now anything changes.
  forget_prepared();
  iteration_ = iteration;
  for (const StatePart& part : state_parts()) file.copy_to(part.name, *part.tensor);
  for (size_t i = 0; i < trained_.size(); ++i) {
    trained_[i].moments.steps = steps[i];
    trained_[i].gradient->fill_zero();
  }
  return file.metadata("extra");
}

}  // namespace eg4d
