#include "pipeline/refine.h"

#include <fmt/format.h>

#include <numeric>
#include <optional>

#include "core/config.h"
#include "core/error.h"
#include "core/threads.h"
#include "io/background_writer.h"
#include "io/folder.h"
#include "pipeline/memory_message.h"
#include "pipeline/open_model.h"
#include "pipeline/pictures.h"
#include "pipeline/python_model.h"
#include "pipeline/python_training.h"
#include "pipeline/recorded_path.h"
#include "pipeline/stage_folder.h"
#include "pipeline/training_loop.h"
#include "pipeline/views.h"
#include "splat/evaluation.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

fs::path reconstructed_model(const fs::path& run) {
  for (const WhichModel which : {WhichModel::best, WhichModel::last})
    if (fs::path file = run_model_file(run, which); !file.empty()) return file;
  return {};
}

// A model file, or what else open_model takes.
fs::path start_model(const RefineJob& job) {
  const fs::path& named = job.start.empty() ? job.run : job.start;
  // A run may have one of this number in refined/, too.
  if (job.iteration)
    return model_place(fs::is_directory(named / "coarse") ? named / "coarse" : named, WhichModel::automatic,
                       job.iteration);
  if (fs::path file = reconstructed_model(named); !file.empty()) return file;
  if (!job.start.empty()) return model_place(job.start);
  throw Error(
      fmt::format("'{}' holds no reconstructed model; `eg4d reconstruct` makes one", job.run.string()));
}

// Between two 8-bit pictures of one size.
double psnr_between(const Picture& a, const Picture& b) {
  constexpr int64_t kGrain = int64_t{1} << 16;
  const auto count = static_cast<int64_t>(a.data.size());
  std::vector<int64_t> sums(static_cast<size_t>((count + kGrain - 1) / kGrain));
  parallel_for(count, kGrain, [&](int64_t begin, int64_t end) {
    int64_t sum = 0;
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      const int difference = int{a.data[i]} - int{b.data[i]};
      sum += difference * difference;
    }
    sums[static_cast<size_t>(begin / kGrain)] = sum;
  });
  const auto sum = static_cast<double>(std::accumulate(sums.begin(), sums.end(), int64_t{0}));
  return psnr_of(sum / (255.0 * 255.0) / static_cast<double>(count));
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
StageFolder::Manifest manifest_of(const RefineJob& job, const std::string& input,
                                  const PainterIdentity& painter, bool perceptual) {
  return {"refine", merged(settings_of(job.options), painter.settings), input,
          painter.weights + (perceptual ? ", LPIPS" : "")};
}

// A run's own model belongs to it; one from elsewhere may be another one of the same name tomorrow.
std::string start_model_identity(const RefineJob& job) {
  const fs::path model = start_model(job);
  return job.start.empty() ? model_identity(model) : start_identity(model);
}

std::string input_of(const RefineJob& job, const Dataset& dataset) {
  return fmt::format("{:016x} {}", dataset.fingerprint(), start_model_identity(job));
}

fs::path refined_folder(const RefineJob& job) {
  return job.run / "refined";
}

RefineResult result_in(const fs::path& folder) {
  return {folder / "model.safetensors", folder / "metrics.json"};
}

bool is_complete(const StageFolder& folder) {
  const RefineResult result = result_in(folder.path());
  return folder.finished() && fs::exists(result.model) && fs::exists(result.metrics);
}

// One run of the job: the state that lives while it trains.
class Refinement : private TrainingTask {
 public:
  Refinement(Backend& backend, const RefineJob& job, TargetPainter& painter, Lpips* lpips, Progress& progress)
      : backend_(backend),
        job_(job),
        painter_(painter),
        lpips_(lpips),
        progress_(progress),
        phases_(job.start_seconds),
        start_model_(start_model(job)),
        dataset_(dataset_of(job)),
        folder_(refined_folder(job),
                manifest_of(job, input_of(job, dataset_), painter.identity(), lpips != nullptr),
                job.overwrite, job.overwrite_other) {}

  RefineResult run();

 private:
  void step() override { trainer_->step(); }
  int64_t done() const override { return trainer_->iteration(); }
  int64_t total() const override { return trainer_->total_iterations(); }
  const char* stage() const override { return "refine"; }
  int64_t iteration() const override { return trainer_->iteration(); }
  int64_t model_number() const override { return fine_iterations(model_.info) + trainer_->iteration(); }
  std::vector<Figure> loss() const override;
  PreparedFile prepare_state(const std::string& extra) override {
    target_files_.finish();  // what is made again later would be made of a later render
    return trainer_->prepare_state(extra);
  }
  std::string load_state(const fs::path& path) override { return trainer_->load_state(path); }
  ModelInfo model_info() const override;
  const Gaussians& gaussians() const override { return model_.gaussians; }
  const DeformationField* field() const override { return &model_.field; }

  Tensor target(size_t view, const Tensor& rendered);
  void load_data();
  void carry_moments();

  Backend& backend_;
  const RefineJob& job_;
  TargetPainter& painter_;
  Lpips* const lpips_;
  Progress& progress_;
  PhaseClock phases_;
  const fs::path start_model_;
  const Dataset dataset_;
  StageFolder folder_;

  Model model_;
  TrainingViews training_, test_;
  std::optional<RefinementTrainer> trainer_;
  size_t targets_ = 0;  // that training has
  BackgroundWriter target_files_{picture_writing()};
};

// Cached as a file: what is on disk is what training sees, in the first process and in those that continue.
// The file is written beside the training, and there before the next checkpoint is.
Tensor Refinement::target(size_t view, const Tensor& rendered) {
  const PhaseClock::During targets(phases_, Phase::targets);
  const fs::path path = folder_.path() / "targets" / fmt::format("{:06}.png", view);
  Picture picture;
  if (fs::exists(path)) {
    picture = read_picture(path);
  } else {
    const Tensor clamped = rendered.clone();
    backend_.run(ClampUnit{clamped.data(), clamped.count()});
    const Picture shown = to_picture(clamped), input = view_picture(training_[view].picture);
    picture = painter_.paint(psnr_between(shown, input) > job_.options.keep_psnr ? shown : input, view,
                             model_.info.options.data.background);
    target_files_.push(picture.data.size(), [path, picture] { write_png(path, picture); });
  }
  // Training asks once per view.
  if (++targets_ == training_.size()) {
    tell_of_memory(backend_, progress_);
    if (job_.options.training.loss.sds == 0) painter_.release();
  }
  if (picture.channels != 3) throw Error(fmt::format("'{}' is not an RGB picture", path.string()));
  return Tensor::from_host<uint8_t>(backend_, {picture.height, picture.width, 3}, picture.data);
}

std::vector<Figure> Refinement::loss() const {
  const RefinementTrainer::LossValues loss = trainer_->last_loss();
  return {{"l1", loss.l1}, {"psnr", loss.psnr}, {"lpips", loss.lpips}};
}

ModelInfo Refinement::model_info() const {
  const PainterIdentity painter = painter_.identity();
  ModelInfo info = model_.info;
  info.iterations += trainer_->iteration();
  info.provenance["refined"] =
      painter.weights + (painter.settings.given == "{}" ? "" : ", " + painter.settings.given);
  return info;
}

void Refinement::load_data() {
  model_ = open_model(backend_, start_model_);
  if (!model_.info.deforms)
    throw Error(
        fmt::format("the model '{}' does not move: refinement needs one that does (`eg4d reconstruct "
                    "DATASET --start-model` makes it move)",
                    start_model_.string()));
  progress_.begin(1, "reading pictures");
  ReconstructOptions options = model_.info.options;
  options.data.random_background = false;  // targets have no transparency
  const double largest_time = dataset_.largest_time();
  const auto load_split = [&](const std::string& name) {
    return load_views(backend_, dataset_, dataset_.read_split(name), options, largest_time);
  };
  training_ = load_training_views(backend_, dataset_, options, largest_time);
  if (dataset_.has_split(options.data.test_split)) test_ = load_split(options.data.test_split);
  // A model of the Python EG4D does not tell what it was trained on.
  if (model_.info.extent == 0 || is_python_model(start_model_)) {
    const double extent = model_.info.extent;
    describe_training(model_.info, training_, largest_time);
    if (extent > 0) model_.info.extent = extent;
  }
  progress_.end();
}

// The first process of a refinement goes on with Stage II's optimiser.
void Refinement::carry_moments() {
  if (!job_.options.training.carry_moments) return;
  if (is_python_model(start_model_)) {
    const auto training = read_python_training(backend_, start_model_, model_);
    if (training)
      trainer_->carry(color_moments(*training));
    else
      progress_.message(
          fmt::format("the optimiser starts afresh: '{}' holds no state of it (a checkpoint does: "
                      "best_N_PSNR.pth, fine_N.pth)",
                      start_model_.string()));
    return;
  }
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

RefineResult Refinement::run() {
  RefineResult result = result_in(folder_.path());
  if (is_complete(folder_)) {
    result.already_done = true;
    return result;
  }
  load_data();
  const RefinementOptions& options = job_.options.training;
  make_folder(folder_.path() / "targets");
  trainer_.emplace(
      backend_, options, training_, model_, lpips_,
      [this](size_t view, const Tensor& rendered) { return target(view, rendered); }, painter_.distiller());
  TrainingLoop loop(backend_, *this, folder_, test_,
                    {.label = "refining",
                     .evaluate_interval = job_.options.evaluate_interval,
                     .checkpoint_seconds = options.checkpoint.seconds,
                     .keep_best = false,
                     .models = options.checkpoint.models},
                    progress_, phases_);
  result.resumed = loop.resume();
  if (!result.resumed) {
    carry_moments();
    if (trainer_->total_iterations() < options.iterations)
      progress_.message(fmt::format(
          "{} iterations: the model has {} of the fine stage, and last_iteration = {} ends refinement",
          trainer_->total_iterations(), fine_iterations(model_.info), options.last_iteration));
  }
  record_dataset(folder_.path(), dataset_.folder());
  loop.run();
  target_files_.finish();
  loop.save_model("model.safetensors");
  std::vector<TrainingLoop::SplitResult> splits;
  if (!test_.empty()) splits.push_back({model_.info.options.data.test_split, loop.evaluate_test()});
  loop.complete(job_.preset, splits, dataset_.folder());
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

fs::path dataset_of(const RefineJob& job) {
  return dataset_of_model(job.start.empty() ? job.run : job.start, job.dataset);
}

RefineResult refine(Backend& backend, const RefineJob& job, TargetPainter& painter, Lpips* lpips,
                    Progress& progress) {
  check_distillation(job.options.training, painter);
  return Refinement(backend, job, painter, lpips, progress).run();
}

void check_refinement(const RefineJob& job, const PainterIdentity& painter, bool perceptual) {
  StageFolder::check(refined_folder(job), manifest_of(job, "", painter, perceptual));
}

std::optional<RefineResult> finished_refinement(const RefineJob& job, const PainterIdentity& painter,
                                                bool perceptual) {
  if (job.overwrite || !fs::exists(refined_folder(job) / "manifest.json")) return {};
  const Dataset dataset(dataset_of(job));
  const StageFolder folder(refined_folder(job), manifest_of(job, input_of(job, dataset), painter, perceptual),
                           false, job.overwrite_other);
  if (!is_complete(folder)) return {};
  RefineResult result = result_in(folder.path());
  result.already_done = true;
  return result;
}

}  // namespace eg4d
