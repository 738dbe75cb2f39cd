#include "pipeline/reconstruct.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <chrono>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "core/config.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "core/text_layout.h"
#include "io/atomic_file.h"
#include "pipeline/perceptual.h"
#include "pipeline/pictures.h"
#include "pipeline/start.h"
#include "pipeline/training_log.h"
#include "pipeline/views.h"
#include "splat/evaluation.h"
#include "splat/model.h"
#include "splat/trainer.h"

namespace eg4d {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// What makes two runs the same: every setting that changes the result, and the dataset.
json manifest_of(const ReconstructJob& job, uint64_t fingerprint) {
  ReconstructOptions options = job.options;
  options.checkpoint = {};  // when to save does not change what is computed
  ConfigSchema schema;
  options.bind(schema);
  return {{"stage", "reconstruct"},
          {"version", 1},
          {"options", schema.to_toml()},
          {"dataset", fmt::format("{:016x}", fingerprint)}};
}

json read_json(const fs::path& path) {
  std::ifstream file(path);
  return json::parse(file, nullptr, false);
}

std::string another_run(const fs::path& folder) {
  return fmt::format(
      "'{}' holds a run with other settings or another dataset; give another output folder with -o, or "
      "--overwrite to replace it",
      folder.string());
}

// One run of the job: the state that lives while it trains.
class Reconstruction {
 public:
  Reconstruction(Backend& backend, const ReconstructJob& job, Progress& progress)
      : backend_(backend),
        job_(job),
        progress_(progress),
        folder_(job.output / "coarse"),
        dataset_(dataset_folder(job.dataset)) {}

  ReconstructResult run();

 private:
  bool prepare_folder(const json& manifest);
  void load_data();
  void train();
  void evaluate_now();
  void checkpoint();
  void finish();
  ModelInfo model_info() const;

  Backend& backend_;
  const ReconstructJob& job_;
  Progress& progress_;
  const fs::path folder_;
  const Dataset dataset_;

  double largest_time_ = 1;
  TrainingViews training_, test_;
  int frame_count_ = 0;
  std::unique_ptr<Lpips> lpips_;
  std::optional<Trainer> trainer_;
  std::optional<TrainingLog> log_;
  // Kept in the checkpoint.
  json evaluations_ = json::array();
  double best_psnr_ = -1;
  int64_t best_iteration_ = 0;
  double earlier_seconds_ = 0;
  std::chrono::steady_clock::time_point start_;
  bool resumed_ = false;
};

// Creates the folder, or finds the same run there. Returns true when that run is complete.
bool Reconstruction::prepare_folder(const json& manifest) {
  const fs::path manifest_path = folder_ / "manifest.json";
  if (fs::exists(job_.output) && !fs::is_directory(job_.output))
    throw Error(fmt::format("the output '{}' is not a folder", job_.output.string()));
  std::error_code error;
  const bool another = fs::exists(manifest_path) && read_json(manifest_path) != manifest;
  if (job_.overwrite || (another && job_.overwrite_other)) fs::remove_all(folder_, error);
  fs::create_directories(folder_, error);
  if (error) throw Error(fmt::format("cannot create the folder '{}': {}", folder_.string(), error.message()));
  if (fs::exists(manifest_path)) {
    if (another) throw Error(another_run(folder_));
    return fs::exists(folder_ / "metrics.json") && fs::exists(folder_ / "model.safetensors");
  }
  write_file_atomically(manifest_path, manifest.dump(2) + "\n");
  return false;
}

void Reconstruction::load_data() {
  progress_.begin(1, "reading pictures");
  const DatasetSplit train = dataset_.read_split("train");
  largest_time_ = dataset_.largest_time();
  std::set<double> times;
  for (const DatasetFrame& frame : train.frames) times.insert(frame.time);
  frame_count_ = static_cast<int>(times.size());
  training_ = load_views(backend_, dataset_, train, job_.options, largest_time_);
  const std::string& test = job_.options.data.test_split;
  if (dataset_.has_split(test))
    test_ = load_views(backend_, dataset_, dataset_.read_split(test), job_.options, largest_time_);
  progress_.update(1);
  progress_.end();
}

ModelInfo Reconstruction::model_info() const {
  ModelInfo info;
  info.options = job_.options;
  info.deforms = trainer_->stage() == Stage::fine;
  info.iterations = trainer_->total_done();
  info.largest_time = largest_time_;
  info.frame_count = frame_count_;
  std::vector<Camera> cameras;
  for (const TrainingView& view : training_) {
    cameras.push_back(view.camera);
    const float* c = view.camera.center;
    info.camera_radius +=
        std::sqrt(c[0] * c[0] + c[1] * c[1] + c[2] * c[2]) / static_cast<double>(training_.size());
  }
  info.extent = cameras_extent(cameras);
  info.width = cameras.front().width;
  info.height = cameras.front().height;
  info.fov_x = cameras.front().fov_x;
  info.provenance = {{"program", "eg4d"},
                     {"preset", job_.preset},
                     {"dataset", fs::absolute(dataset_.folder()).filename().string()}};
  return info;
}

void Reconstruction::checkpoint() {
  const json extra = {{"evaluations", evaluations_},
                      {"best_psnr", best_psnr_},
                      {"best_iteration", best_iteration_},
                      {"seconds", earlier_seconds_ + seconds_since(start_)}};
  log_->flush();
  trainer_->save_state(folder_ / "checkpoint.safetensors", extra.dump());
}

void Reconstruction::evaluate_now() {
  if (test_.empty()) return;
  const size_t shown = test_.size() / 2;  // the picture that the log keeps
  Picture picture;
  const EvaluationMetrics metrics = evaluate(
      backend_, trainer_->model_gaussians(), trainer_->active_field() ? &trainer_->model_field() : nullptr,
      job_.options, test_, [&](size_t view, const Tensor& image, const Tensor&) {
        if (view == shown) picture = side_by_side(to_picture(image), view_picture(test_[view].picture));
      });
  const Stage stage = trainer_->stage();
  evaluations_.push_back({{"stage", name_of(stage)},
                          {"iteration", trainer_->iteration()},
                          {"psnr", metrics.psnr},
                          {"ssim", metrics.ssim},
                          {"l1", metrics.l1},
                          {"gaussians", trainer_->gaussian_count()}});
  log_->evaluation(trainer_->total_done(), evaluations_.back().dump(), metrics, picture);
  progress_.update(trainer_->total_done(), {{"test PSNR", metrics.psnr}});
  if (stage == Stage::fine && metrics.psnr > best_psnr_) {
    best_psnr_ = metrics.psnr;
    best_iteration_ = trainer_->total_done();
    const fs::path best = folder_ / "best.safetensors";
    save_model(best, model_info(), trainer_->model_gaussians(), &trainer_->model_field());
    save_moments(moments_file(best), trainer_->color_moments(), best_iteration_);
  }
}

void Reconstruction::train() {
  const auto& options = job_.options;
  progress_.begin(trainer_->total_iterations(), "reconstructing", trainer_->total_done());
  auto last_checkpoint = std::chrono::steady_clock::now();
  double smoothed_psnr = 0;
  while (!trainer_->finished()) {
    trainer_->step();
    const int64_t done = trainer_->total_done();
    if (done % 10 == 0 || trainer_->finished()) {
      const Trainer::LossValues loss = trainer_->last_loss();
      smoothed_psnr = smoothed_psnr == 0 ? loss.psnr : 0.9 * smoothed_psnr + 0.1 * loss.psnr;
      const auto gaussians = static_cast<double>(trainer_->gaussian_count());
      const char* stage = name_of(trainer_->stage());
      if (lpips_)
        log_->step(done, stage,
                   {{"l1", loss.l1}, {"lpips", loss.lpips}, {"psnr", loss.psnr}, {"gaussians", gaussians}});
      else
        log_->step(done, stage, {{"l1", loss.l1}, {"psnr", loss.psnr}, {"gaussians", gaussians}});
      progress_.update(done, {{"Gaussians", gaussians}, {"PSNR", smoothed_psnr}});
    }
    // At the end too, so that the last model can be the best.
    if (trainer_->iteration() % options.schedule.evaluate_interval == 0 || trainer_->finished())
      evaluate_now();
    const bool by_count = options.checkpoint.interval > 0 && done % options.checkpoint.interval == 0;
    const bool interrupted = interrupt_requested();
    if (by_count || interrupted || seconds_since(last_checkpoint) > options.checkpoint.seconds) {
      checkpoint();
      last_checkpoint = std::chrono::steady_clock::now();
      if (interrupted)
        throw Interrupted(fmt::format("stopped at iteration {} of {}; the same command continues from there",
                                      done, trainer_->total_iterations()));
    }
  }
  progress_.end();
}

void Reconstruction::finish() {
  const ModelInfo info = model_info();
  const DeformationField* field = trainer_->active_field() ? &trainer_->model_field() : nullptr;
  save_model(folder_ / "model.safetensors", info, trainer_->model_gaussians(), field);
  json splits = json::object();
  for (const std::string& name : dataset_.split_names()) {
    if (name == "train") continue;
    const bool loaded = name == job_.options.data.test_split;
    progress_.begin(1, "evaluating " + name);
    const TrainingViews views =
        loaded ? test_
               : load_views(backend_, dataset_, dataset_.read_split(name), job_.options, largest_time_);
    const EvaluationMetrics metrics =
        evaluate(backend_, trainer_->model_gaussians(), field, job_.options, views);
    splits[name] = {
        {"psnr", metrics.psnr}, {"ssim", metrics.ssim}, {"l1", metrics.l1}, {"pictures", views.size()}};
    progress_.message(fmt::format("{}: PSNR {:.2f} dB, SSIM {:.4f} ({})", name, metrics.psnr, metrics.ssim,
                                  counted(static_cast<int64_t>(views.size()), "picture")));
    progress_.end();
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const json metrics = {{"iterations", trainer_->total_done()},
                        {"gaussians", trainer_->gaussian_count()},
                        {"preset", job_.preset},
                        {"splits", splits},
                        {"best", {{"psnr", best_psnr_}, {"iteration", best_iteration_}}},
                        {"evaluations", evaluations_},
                        {"run",
                         {{"seconds", earlier_seconds_ + seconds_since(start_)},
                          {"peak_memory_mib", usage.ru_maxrss / 1024},
                          {"backend", backend_.name()},
                          {"dataset", fs::absolute(dataset_.folder()).lexically_normal().string()}}}};
  write_file_atomically(folder_ / "metrics.json", metrics.dump(2) + "\n");
  std::error_code ignored;
  fs::remove(folder_ / "checkpoint.safetensors", ignored);
}

ReconstructResult Reconstruction::run() {
  start_ = std::chrono::steady_clock::now();
  ReconstructResult result{folder_ / "model.safetensors", folder_ / "metrics.json"};
  const json manifest = manifest_of(job_, dataset_.fingerprint());
  if (prepare_folder(manifest)) {
    result.already_done = true;
    return result;
  }
  load_data();
  std::vector<Camera> cameras;
  for (const TrainingView& view : training_) cameras.push_back(view.camera);
  const PointCloud start = start_points(dataset_, training_, job_.options);
  if (job_.options.loss.lpips != 0)
    lpips_ = require_lpips(backend_, Lpips::Network::alex, job_.models_folder);
  trainer_.emplace(backend_, job_.options, training_, start, cameras_extent(cameras), lpips_.get());
  const fs::path checkpoint_path = folder_ / "checkpoint.safetensors";
  if (fs::exists(checkpoint_path)) {
    const json extra = json::parse(trainer_->load_state(checkpoint_path), nullptr, false);
    evaluations_ = extra.value("evaluations", json::array());
    best_psnr_ = extra.value("best_psnr", -1.0);
    best_iteration_ = extra.value("best_iteration", int64_t{0});
    earlier_seconds_ = extra.value("seconds", 0.0);
    result.resumed = true;
    progress_.message(fmt::format("continuing from iteration {}", trainer_->total_done()));
  }
  log_.emplace(folder_, trainer_->total_done());
  train();
  finish();
  return result;
}

}  // namespace

void check_reconstruction(const ReconstructJob& job) {
  const fs::path folder = job.output / "coarse", file = folder / "manifest.json";
  if (!fs::exists(file)) return;
  const fs::path dataset = dataset_folder(job.dataset);
  const bool known = fs::exists(dataset / "transforms_train.json");
  json before = read_json(file), now = manifest_of(job, known ? Dataset(dataset).fingerprint() : 0);
  if (!known && before.is_object()) before["dataset"] = now["dataset"];
  if (before != now) throw Error(another_run(folder));
}

fs::path dataset_folder(const fs::path& named) {
  if (fs::is_directory(named / "multiviews") && !fs::exists(named / "transforms_train.json"))
    return named / "multiviews";
  return named;
}

ReconstructResult reconstruct(Backend& backend, const ReconstructJob& job, Progress& progress) {
  return Reconstruction(backend, job, progress).run();
}

}  // namespace eg4d
