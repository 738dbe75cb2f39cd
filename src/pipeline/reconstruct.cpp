#include "pipeline/reconstruct.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "core/text_layout.h"
#include "pipeline/open_model.h"
#include "pipeline/perceptual.h"
#include "pipeline/python_training.h"
#include "pipeline/recorded_path.h"
#include "pipeline/stage_folder.h"
#include "pipeline/start.h"
#include "pipeline/training_loop.h"
#include "pipeline/views.h"
#include "splat/evaluation.h"
#include "splat/model.h"
#include "splat/trainer.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

// What makes two runs the same: every setting that changes the result, and the dataset.
StageFolder::Manifest manifest_of(const ReconstructJob& job, const std::string& input) {
  return {"reconstruct", settings_of(job.options), input};
}

std::string input_of(const ReconstructJob& job, const Dataset& dataset) {
  std::string input = fmt::format("dataset {:016x}", dataset.fingerprint());
  if (job.start_model.empty()) return input;
  const fs::path model = model_place(job.start_model, WhichModel::automatic, job.start_model_iteration);
  input += ", start " + start_identity(model);
  return job.start_iteration ? fmt::format("{} from {}", input, *job.start_iteration) : input;
}

fs::path folder_of(const ReconstructJob& job) {
  return job.output / "coarse";
}

// As first points, for what a start model does not have: the box of its field.
PointCloud points_of(const Gaussians& gaussians) {
  PointCloud points;
  points.positions = gaussians.positions.to_host();
  points.colors.assign(points.positions.size(), 0.5f);
  return points;
}

// One run of the job: the state that lives while it trains.
class Reconstruction : private TrainingTask {
 public:
  Reconstruction(Backend& backend, const ReconstructJob& job, Progress& progress)
      : backend_(backend),
        job_(job),
        progress_(progress),
        phases_(job.start_seconds),
        dataset_(dataset_folder(job.dataset)),
        folder_(folder_of(job), manifest_of(job, input_of(job, dataset_)), job.overwrite,
                job.overwrite_other),
        options_(job.options) {}

  ReconstructResult run();

 private:
  void step() override { trainer_->step(); }
  int64_t done() const override { return trainer_->total_done(); }
  int64_t total() const override { return trainer_->total_iterations(); }
  const char* stage() const override { return name_of(trainer_->stage()); }
  int64_t iteration() const override { return trainer_->iteration(); }
  int64_t model_number() const override {
    return trainer_->stage() == Stage::fine ? trainer_->iteration() : 0;
  }
  std::vector<Figure> loss() const override;
  PreparedFile prepare_state(const std::string& extra) override { return trainer_->prepare_state(extra); }
  std::string load_state(const fs::path& path) override { return trainer_->load_state(path); }
  ModelInfo model_info() const override;
  const Gaussians& gaussians() const override { return trainer_->model_gaussians(); }
  const DeformationField* field() const override {
    return trainer_->active_field() ? &trainer_->model_field() : nullptr;
  }

  NamedMoments moments() const override { return trainer_->color_moments(); }

  void read_start();
  void load_data();
  void make_trainer();
  TrainingViews load_split(const std::string& name) {
    const PhaseClock::During loading(phases_, Phase::loading);
    return load_views(backend_, dataset_, dataset_.read_split(name), options_, largest_time_);
  }
  std::vector<TrainingLoop::SplitResult> evaluate_splits(TrainingLoop& loop);

  Backend& backend_;
  const ReconstructJob& job_;
  Progress& progress_;
  PhaseClock phases_;
  const Dataset dataset_;
  StageFolder folder_;
  ReconstructOptions options_;  // the job's, as a start model changes them
  std::optional<Model> start_;  // until the trainer has it
  TrainingStart training_start_;

  double largest_time_ = 1;
  TrainingViews training_, test_;
  std::unique_ptr<Lpips> lpips_;
  std::optional<Trainer> trainer_;
};

// What a start model fixes is taken from it: the sizes of its field, and that there is no coarse stage.
void Reconstruction::read_start() {
  const fs::path place = model_place(job_.start_model, WhichModel::automatic, job_.start_model_iteration);
  start_ = open_model(backend_, place);
  const ModelInfo& info = start_->info;
  options_.schedule.coarse_iterations = 0;
  options_.gaussian.flat = info.options.gaussian.flat;
  if (info.deforms) {
    const bool train_box = options_.hexplane.train_box;
    options_.hexplane = info.options.hexplane;
    options_.hexplane.train_box = train_box;
    options_.deformation.width = info.options.deformation.width;
    options_.deformation.depth = info.options.deformation.depth;
    options_.deformation.color = info.options.deformation.color;
    options_.deformation.opacity = info.options.deformation.opacity;
  }
  if (!job_.start_iteration)
    if (auto training = read_python_training(backend_, place, *start_))
      training_start_ = std::move(*training);
  training_start_.iteration = job_.start_iteration.value_or(training_start_.iteration);
  const int fine = options_.schedule.fine_iterations;
  if (training_start_.iteration >= fine)
    throw UsageError(
        fmt::format("'{}' goes on from iteration {}, and the fine stage has {}: set "
                    "schedule.fine_iterations to more, or --start-iteration to less",
                    place.string(), training_start_.iteration, fine));
}

void Reconstruction::load_data() {
  progress_.begin(1, "reading pictures");
  largest_time_ = dataset_.largest_time();
  training_ = load_training_views(backend_, dataset_, options_, largest_time_);
  if (dataset_.has_split(options_.data.test_split)) test_ = load_split(options_.data.test_split);
  if (options_.data.train_on_test && !test_.empty())
    progress_.message("the test split's pictures are trained on, too: its figures are not of unseen ones");
  progress_.update(1);
  progress_.end();
}

void Reconstruction::make_trainer() {
  if (options_.loss.lpips != 0) lpips_ = require_lpips(backend_, Lpips::Network::alex, job_.models_folder);
  ModelInfo info;
  describe_training(info, training_, largest_time_);
  const PointCloud start =
      start_ ? points_of(start_->gaussians) : start_points(dataset_, training_, options_);
  trainer_.emplace(backend_, options_, training_, start, info.extent, lpips_.get());
  if (!start_) return;
  trainer_->start_from(*start_, std::move(training_start_));
  start_.reset();
}

std::vector<Figure> Reconstruction::loss() const {
  const Trainer::LossValues loss = trainer_->last_loss();
  std::vector<Figure> figures = {
      {"l1", loss.l1}, {"psnr", loss.psnr}, {"gaussians", static_cast<double>(trainer_->gaussian_count())}};
  if (lpips_) figures.push_back({"lpips", loss.lpips});
  return figures;
}

ModelInfo Reconstruction::model_info() const {
  ModelInfo info;
  info.options = options_;
  info.deforms = trainer_->stage() == Stage::fine;
  info.iterations = trainer_->total_done();
  describe_training(info, training_, largest_time_);
  info.provenance = {{"program", "eg4d"},
                     {"preset", job_.preset},
                     {"dataset", fs::absolute(dataset_.folder()).filename().string()}};
  if (!job_.start_model.empty())
    info.provenance["start"] = fs::absolute(job_.start_model).filename().string();
  return info;
}

// Splits of the same pictures (Stage I's test and val) are measured once.
std::vector<TrainingLoop::SplitResult> Reconstruction::evaluate_splits(TrainingLoop& loop) {
  std::vector<TrainingLoop::SplitResult> results;
  for (const std::string& name : dataset_.split_names()) {
    if (name == "train") continue;
    const PhaseClock::During evaluation(phases_, Phase::evaluation);
    progress_.begin(1, "evaluating " + name);
    const auto same = std::find_if(results.begin(), results.end(), [&](const auto& earlier) {
      return dataset_.same_split(earlier.name, name);
    });
    const bool test = name == options_.data.test_split;
    const EvaluationMetrics metrics =
        test || (!test_.empty() && dataset_.same_split(options_.data.test_split, name)) ? loop.evaluate_test()
        : same != results.end()                                                         ? same->metrics
                                : evaluate(backend_, gaussians(), field(), options_, load_split(name));
    progress_.message(fmt::format("{}: PSNR {:.2f} dB, SSIM {:.4f} ({})", name, metrics.psnr, metrics.ssim,
                                  counted(static_cast<int64_t>(metrics.views.size()), "picture")));
    results.push_back({name, metrics});
    progress_.end();
  }
  return results;
}

ReconstructResult Reconstruction::run() {
  ReconstructResult result{folder_.path() / "model.safetensors", folder_.path() / "metrics.json"};
  if (fs::exists(result.metrics) && fs::exists(result.model)) {
    result.already_done = true;
    return result;
  }
  if (!job_.start_model.empty()) read_start();
  load_data();
  make_trainer();
  const ReconstructOptions& options = options_;
  TrainingLoop loop(backend_, *this, folder_, test_,
                    {.label = "reconstructing",
                     .evaluate_interval = options.schedule.evaluate_interval,
                     .checkpoint_interval = options.checkpoint.interval,
                     .checkpoint_seconds = options.checkpoint.seconds,
                     .keep_best = true,
                     .models = options.checkpoint.models},
                    progress_, phases_);
  result.resumed = loop.resume();
  record_dataset(folder_.path(), dataset_.folder());
  loop.run();
  loop.save_model("model.safetensors");
  loop.complete(job_.preset, evaluate_splits(loop), dataset_.folder());
  return result;
}

}  // namespace

void check_reconstruction(const ReconstructJob& job) {
  const fs::path dataset = dataset_folder(job.dataset);
  std::string input;
  try {
    if (is_dataset_folder(dataset)) input = input_of(job, Dataset(dataset));
  } catch (const Error&) {
    // Pictures are missing: an earlier stage will make them again.
  }
  StageFolder::check(folder_of(job), manifest_of(job, input));
}

fs::path dataset_folder(const fs::path& named) {
  if (fs::is_directory(named / "multiviews") && !is_dataset_folder(named)) return named / "multiviews";
  return named;
}

ReconstructResult reconstruct(Backend& backend, const ReconstructJob& job, Progress& progress) {
  if (fs::exists(job.output) && !fs::is_directory(job.output))
    throw Error(fmt::format("the output '{}' is not a folder", job.output.string()));
  return Reconstruction(backend, job, progress).run();
}

}  // namespace eg4d
