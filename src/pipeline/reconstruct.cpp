#include "pipeline/reconstruct.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "core/error.h"
#include "core/text_layout.h"
#include "pipeline/perceptual.h"
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

std::string input_of(const Dataset& dataset) {
  return fmt::format("dataset {:016x}", dataset.fingerprint());
}

fs::path folder_of(const ReconstructJob& job) {
  return job.output / "coarse";
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
        folder_(folder_of(job), manifest_of(job, input_of(dataset_)), job.overwrite, job.overwrite_other) {}

  ReconstructResult run();

 private:
  void step() override { trainer_->step(); }
  int64_t done() const override { return trainer_->total_done(); }
  int64_t total() const override { return trainer_->total_iterations(); }
  const char* stage() const override { return name_of(trainer_->stage()); }
  int64_t iteration() const override { return trainer_->iteration(); }
  std::vector<Figure> loss() const override;
  PreparedFile prepare_state(const std::string& extra) override { return trainer_->prepare_state(extra); }
  std::string load_state(const fs::path& path) override { return trainer_->load_state(path); }
  ModelInfo model_info() const override;
  const Gaussians& gaussians() const override { return trainer_->model_gaussians(); }
  const DeformationField* field() const override {
    return trainer_->active_field() ? &trainer_->model_field() : nullptr;
  }

  NamedMoments moments() const override { return trainer_->color_moments(); }

  void load_data();
  void make_trainer();
  TrainingViews load_split(const std::string& name) {
    const PhaseClock::During loading(phases_, Phase::loading);
    return load_views(backend_, dataset_, dataset_.read_split(name), job_.options, largest_time_);
  }
  std::vector<TrainingLoop::SplitResult> evaluate_splits(TrainingLoop& loop);

  Backend& backend_;
  const ReconstructJob& job_;
  Progress& progress_;
  PhaseClock phases_;
  const Dataset dataset_;
  StageFolder folder_;

  double largest_time_ = 1;
  TrainingViews training_, test_;
  std::vector<Camera> cameras_;  // of the training views
  int frame_count_ = 0;
  std::unique_ptr<Lpips> lpips_;
  std::optional<Trainer> trainer_;
};

void Reconstruction::load_data() {
  progress_.begin(1, "reading pictures");
  largest_time_ = dataset_.largest_time();
  const DatasetSplit train = dataset_.read_split("train");
  std::set<double> times;
  for (const DatasetFrame& frame : train.frames) times.insert(frame.time);
  frame_count_ = static_cast<int>(times.size());
  training_ = load_views(backend_, dataset_, train, job_.options, largest_time_);
  for (const TrainingView& view : training_) cameras_.push_back(view.camera);
  if (dataset_.has_split(job_.options.data.test_split)) test_ = load_split(job_.options.data.test_split);
  progress_.update(1);
  progress_.end();
}

void Reconstruction::make_trainer() {
  const PointCloud start = start_points(dataset_, training_, job_.options);
  if (job_.options.loss.lpips != 0)
    lpips_ = require_lpips(backend_, Lpips::Network::alex, job_.models_folder);
  trainer_.emplace(backend_, job_.options, training_, start, cameras_extent(cameras_), lpips_.get());
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
  info.options = job_.options;
  info.deforms = trainer_->stage() == Stage::fine;
  info.iterations = trainer_->total_done();
  info.largest_time = largest_time_;
  info.frame_count = frame_count_;
  for (const Camera& camera : cameras_) {
    const float* c = camera.center;
    info.camera_radius +=
        std::sqrt(c[0] * c[0] + c[1] * c[1] + c[2] * c[2]) / static_cast<double>(cameras_.size());
  }
  info.extent = cameras_extent(cameras_);
  info.width = cameras_.front().width;
  info.height = cameras_.front().height;
  info.fov_x = cameras_.front().fov_x;
  info.provenance = {{"program", "eg4d"},
                     {"preset", job_.preset},
                     {"dataset", fs::absolute(dataset_.folder()).filename().string()}};
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
    const bool test = name == job_.options.data.test_split;
    const EvaluationMetrics metrics =
        test || (!test_.empty() && dataset_.same_split(job_.options.data.test_split, name))
            ? loop.evaluate_test()
        : same != results.end() ? same->metrics
                                : evaluate(backend_, gaussians(), field(), job_.options, load_split(name));
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
  load_data();
  make_trainer();
  const ReconstructOptions& options = job_.options;
  TrainingLoop loop(backend_, *this, folder_, test_,
                    {.label = "reconstructing",
                     .evaluate_interval = options.schedule.evaluate_interval,
                     .checkpoint_interval = options.checkpoint.interval,
                     .checkpoint_seconds = options.checkpoint.seconds,
                     .keep_best = true},
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
    if (fs::exists(dataset / "transforms_train.json")) input = input_of(Dataset(dataset));
  } catch (const Error&) {
    // Pictures are missing: an earlier stage will make them again.
  }
  StageFolder::check(folder_of(job), manifest_of(job, input));
}

fs::path dataset_folder(const fs::path& named) {
  if (fs::is_directory(named / "multiviews") && !fs::exists(named / "transforms_train.json"))
    return named / "multiviews";
  return named;
}

ReconstructResult reconstruct(Backend& backend, const ReconstructJob& job, Progress& progress) {
  if (fs::exists(job.output) && !fs::is_directory(job.output))
    throw Error(fmt::format("the output '{}' is not a folder", job.output.string()));
  return Reconstruction(backend, job, progress).run();
}

}  // namespace eg4d
