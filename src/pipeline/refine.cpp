#include "pipeline/refine.h"

#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/config.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "io/atomic_file.h"
#include "io/folder.h"
#include "pipeline/open_model.h"
#include "pipeline/pictures.h"
#include "pipeline/stage_folder.h"
#include "pipeline/training_log.h"
#include "pipeline/views.h"
#include "splat/evaluation.h"

namespace eg4d {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

fs::path start_model_file(const fs::path& run) {
  for (const WhichModel which : {WhichModel::best, WhichModel::last})
    if (const fs::path file = run_model_file(run, which); !file.empty()) return file;
  throw Error(fmt::format("'{}' holds no reconstructed model; `eg4d reconstruct` makes one", run.string()));
}

// Between two 8-bit pictures of one size.
double psnr_between(const Picture& a, const Picture& b) {
  double sum = 0;
  for (size_t i = 0; i < a.data.size(); ++i) {
    const double difference = (static_cast<double>(a.data[i]) - b.data[i]) / 255;
    sum += difference * difference;
  }
  return sum > 0 ? -10 * std::log10(sum / static_cast<double>(a.data.size())) : 100;
}

// Before anything is written.
void check_distillation(const RefinementOptions& options, TargetPainter& painter) {
  if (options.loss.sds == 0) return;
  if (!painter.distiller())
    throw UsageError("loss.sds needs the diffusion network: leave --no-diffusion out, or set it to 0");
  if (options.sds.min_step > options.sds.max_step)
    throw UsageError(fmt::format("sds.min_step ({:g}) is above sds.max_step ({:g})", options.sds.min_step,
                                 options.sds.max_step));
}

// What the results depend on.
StageFolder::Manifest manifest_of(const RefineJob& job, const std::string& input, const std::string& painter,
                                  bool perceptual) {
  RefineOptions options = job.options;
  options.training.checkpoint = {};  // when to save does not change what is computed
  ConfigSchema schema;
  options.bind(schema);
  return {"refine", schema.to_json(), input, painter + (perceptual ? ", LPIPS" : "")};
}

std::string input_of(const RefineJob& job, const Dataset& dataset) {
  return fmt::format("{:016x} {}", dataset.fingerprint(), model_identity(start_model_file(job.run)));
}

fs::path refined_folder(const RefineJob& job) {
  return job.run / "refined";
}

// One run of the job: the state that lives while it trains.
class Refinement {
 public:
  Refinement(Backend& backend, const RefineJob& job, TargetPainter& painter, Lpips* lpips, Progress& progress)
      : backend_(backend),
        job_(job),
        painter_(painter),
        lpips_(lpips),
        progress_(progress),
        start_model_(start_model_file(job.run)),
        dataset_(dataset_of_model(job.run, job.dataset)),
        folder_(refined_folder(job),
                manifest_of(job, input_of(job, dataset_), painter.identity(), lpips != nullptr),
                job.overwrite, job.overwrite_other) {}

  RefineResult run();

 private:
  Tensor target(size_t view, const Tensor& rendered);
  void carry_moments();
  void train();
  void evaluate_now();
  void checkpoint();
  void finish();
  fs::path file(const char* name) const { return folder_.path() / name; }

  Backend& backend_;
  const RefineJob& job_;
  TargetPainter& painter_;
  Lpips* const lpips_;
  Progress& progress_;
  const fs::path start_model_;
  const Dataset dataset_;
  StageFolder folder_;

  Model model_;
  TrainingViews training_, test_;
  std::optional<RefinementTrainer> trainer_;
  std::optional<TrainingLog> log_;
  json evaluations_ = json::array();  // kept in the checkpoint, as is the time
  double earlier_seconds_ = 0;
  size_t targets_ = 0;  // that training has
  Clock::time_point start_ = Clock::now();
};

// Cached as a file: what is on disk is what training sees, in the first process and in those that continue.
Tensor Refinement::target(size_t view, const Tensor& rendered) {
  const fs::path path = folder_.path() / "targets" / fmt::format("{:06}.png", view);
  Picture picture;
  if (fs::exists(path)) {
    picture = read_picture(path);
  } else {
    const Tensor clamped = rendered.clone();
    backend_.splat().clamp_unit(clamped.data(), clamped.count());
    const Picture shown = to_picture(clamped), input = view_picture(training_[view].picture);
    picture = painter_.paint(psnr_between(shown, input) > job_.options.keep_psnr ? shown : input, view,
                             model_.info.options.data.background);
    write_png(path, picture);
  }
  // Training asks once per view.
  if (++targets_ == training_.size() && job_.options.training.loss.sds == 0) painter_.release();
  if (picture.channels != 3) throw Error(fmt::format("'{}' is not an RGB picture", path.string()));
  return Tensor::from_host<uint8_t>(backend_, {picture.height, picture.width, 3}, picture.data);
}

void Refinement::checkpoint() {
  const json extra = {{"evaluations", evaluations_}, {"seconds", earlier_seconds_ + seconds_since(start_)}};
  log_->flush();
  trainer_->save_state(file("checkpoint.safetensors"), extra.dump());
}

void Refinement::evaluate_now() {
  if (test_.empty()) return;
  const size_t shown = test_.size() / 2;  // the picture that the log keeps
  Picture picture;
  const EvaluationMetrics metrics =
      evaluate(backend_, model_.gaussians, &model_.field, model_.info.options, test_,
               [&](size_t view, const Tensor& image, const Tensor&) {
                 if (view == shown)
                   picture = side_by_side(to_picture(image), view_picture(test_[view].picture));
               });
  evaluations_.push_back({{"stage", "refine"},
                          {"iteration", trainer_->iteration()},
                          {"psnr", metrics.psnr},
                          {"ssim", metrics.ssim},
                          {"l1", metrics.l1}});
  log_->evaluation(trainer_->iteration(), evaluations_.back().dump(), metrics, picture);
  progress_.update(trainer_->iteration(), {{"test PSNR", metrics.psnr}});
}

void Refinement::carry_moments() {
  if (!job_.options.training.carry_moments) return;
  const fs::path path = moments_file(start_model_);
  const auto moments = load_moments(backend_, path, model_.info.iterations);
  if (!moments) {
    progress_.message(fmt::format("the optimiser starts afresh: '{}' {}", path.string(),
                                  fs::exists(path)
                                      ? "belongs to another iteration of the model"
                                      : "is not there (`eg4d reconstruct` writes it with the best model)"));
    return;
  }
  try {
    trainer_->carry(*moments);
  } catch (const Error& error) {
    throw Error(
        fmt::format("'{}' does not belong to '{}': {}", path.string(), start_model_.string(), error.what()));
  }
}

void Refinement::train() {
  progress_.begin(trainer_->total_iterations(), "refining", trainer_->iteration());
  auto last_checkpoint = Clock::now();
  while (!trainer_->finished()) {
    trainer_->step();
    const int64_t done = trainer_->iteration();
    if (done % 10 == 0 || trainer_->finished()) {
      const RefinementTrainer::LossValues loss = trainer_->last_loss();
      log_->step(done, "refine", {{"l1", loss.l1}, {"psnr", loss.psnr}, {"lpips", loss.lpips}});
      progress_.update(done, {{"PSNR", loss.psnr}});
    }
    if (done % job_.options.evaluate_interval == 0) evaluate_now();
    const bool interrupted = interrupt_requested();
    if (interrupted || seconds_since(last_checkpoint) > job_.options.training.checkpoint.seconds) {
      checkpoint();
      last_checkpoint = Clock::now();
      if (interrupted)
        throw Interrupted(fmt::format("stopped at iteration {} of {}; the same command continues from there",
                                      done, trainer_->total_iterations()));
    }
  }
  progress_.end();
}

void Refinement::finish() {
  ModelInfo info = model_.info;
  info.iterations += trainer_->iteration();
  info.provenance["refined"] = painter_.identity();
  save_model(file("model.safetensors"), info, model_.gaussians, &model_.field);
  json splits = json::object();
  if (!test_.empty()) {
    const EvaluationMetrics metrics =
        evaluate(backend_, model_.gaussians, &model_.field, model_.info.options, test_);
    splits[model_.info.options.data.test_split] = {
        {"psnr", metrics.psnr}, {"ssim", metrics.ssim}, {"l1", metrics.l1}, {"pictures", test_.size()}};
  }
  const json metrics = {{"iterations", info.iterations},
                        {"gaussians", model_.gaussians.count()},
                        {"preset", job_.preset},
                        {"splits", splits},
                        {"evaluations", evaluations_},
                        {"run",
                         {{"seconds", earlier_seconds_ + seconds_since(start_)},
                          {"backend", backend_.name()},
                          {"dataset", fs::absolute(dataset_.folder()).lexically_normal().string()}}}};
  write_file_atomically(file("metrics.json"), metrics.dump(2) + "\n");
  folder_.finish();
  std::error_code ignored;
  fs::remove(file("checkpoint.safetensors"), ignored);
}

RefineResult Refinement::run() {
  RefineResult result{file("model.safetensors"), file("metrics.json")};
  if (folder_.finished()) {
    result.already_done = true;
    return result;
  }
  make_folder(folder_.path() / "targets");
  model_ = load_model(backend_, start_model_);
  progress_.begin(1, "reading pictures");
  const ReconstructOptions& options = model_.info.options;
  const double largest_time = dataset_.largest_time();
  training_ = load_views(backend_, dataset_, dataset_.read_split("train"), options, largest_time);
  if (dataset_.has_split(options.data.test_split))
    test_ =
        load_views(backend_, dataset_, dataset_.read_split(options.data.test_split), options, largest_time);
  progress_.end();

  trainer_.emplace(
      backend_, job_.options.training, training_, model_, lpips_,
      [this](size_t view, const Tensor& rendered) { return target(view, rendered); }, painter_.distiller());
  if (fs::exists(file("checkpoint.safetensors"))) {
    const json extra = json::parse(trainer_->load_state(file("checkpoint.safetensors")), nullptr, false);
    evaluations_ = extra.value("evaluations", json::array());
    earlier_seconds_ = extra.value("seconds", 0.0);
    result.resumed = true;
    progress_.message(fmt::format("continuing from iteration {}", trainer_->iteration()));
  } else {
    carry_moments();
    if (trainer_->total_iterations() < job_.options.training.iterations)
      progress_.message(fmt::format(
          "{} iterations: the model has {} of the fine stage, and last_iteration = {} ends refinement",
          trainer_->total_iterations(), fine_iterations(model_.info), job_.options.training.last_iteration));
  }
  log_.emplace(folder_.path(), trainer_->iteration());
  train();
  finish();
  return result;
}

}  // namespace

void RefineOptions::bind(ConfigSchema& s) {
  training.bind(s);
  s.add("keep_psnr", keep_psnr, {0, 1000},
        "dB: a view whose render is at least so near to its picture is refined itself, otherwise the picture "
        "is");
  s.add("evaluate_interval", evaluate_interval, {1, 1e9},
        "iterations between two evaluations on the test split");
}

const PresetTexts& refine_presets() {
  static const PresetTexts presets{{"paper", ""},
                                   {"fast",
                                    "iterations = 400\nlast_iteration = 0\ncarry_moments = false\n"
                                    "loss.clamp = false\nrate.steps = 500\nrate.offset = 101\n"},
                                   // One step from time step 19 of 1000: more noise than that takes away
                                   // more than the small network puts back (bench/evaluate_mini).
                                   {"mini",
                                    "iterations = 200\nlast_iteration = 0\ncarry_moments = false\n"
                                    "loss.clamp = false\nevaluate_interval = 50\nrate.steps = 300\n"
                                    "rate.offset = 101\ndiffusion.steps = 50\ndiffusion.strength = 0.03\n"},
                                   {"depth",
                                    "[controlnet]\nscale = 0.3\n[diffusion]\nsteps = 50\nstrength = 0.5\n"
                                    "guidance = 5.0\nsampler = \"euler\"\nsize = 1024\n"}};
  return presets;
}

RefineResult refine(Backend& backend, const RefineJob& job, TargetPainter& painter, Lpips* lpips,
                    Progress& progress) {
  check_distillation(job.options.training, painter);
  return Refinement(backend, job, painter, lpips, progress).run();
}

bool refinement_finished(const RefineJob& job, const std::string& painter, bool perceptual) {
  if (job.overwrite || !fs::exists(refined_folder(job) / "manifest.json")) return false;
  const Dataset dataset(dataset_of_model(job.run, job.dataset));
  const auto manifest = manifest_of(job, input_of(job, dataset), painter, perceptual);
  return StageFolder(refined_folder(job), manifest, false, job.overwrite_other).finished();
}

void check_refinement(const RefineJob& job, const std::string& painter, bool perceptual) {
  StageFolder::check(refined_folder(job), manifest_of(job, "", painter, perceptual));
}

}  // namespace eg4d
