#include "pipeline/training_loop.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "backend/backend.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "io/atomic_file.h"
#include "pipeline/open_model.h"
#include "pipeline/pictures.h"
#include "pipeline/recorded_path.h"
#include "splat/training_state.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr int kLogInterval = 10;  // iterations
constexpr const char* kCheckpoint = "checkpoint.safetensors";
constexpr const char* kBest = "best.safetensors";
// The best model that belongs to the checkpoint being written: it gets its name when that is complete.
constexpr const char* kNextBest = "best.next.safetensors";

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double figure_named(const std::vector<Figure>& figures, const char* name) {
  for (const Figure& figure : figures)
    if (std::strcmp(figure.name, name) == 0) return figure.value;
  return 0;
}

json metrics_json(const EvaluationMetrics& metrics) {
  return {{"psnr", metrics.psnr}, {"ssim", metrics.ssim}, {"l1", metrics.l1}};
}

int64_t iterations_of_model(const fs::path& path) {
  const SafetensorsFile file(path);
  const auto info = file.metadata().find("info");
  const json header = info == file.metadata().end() ? json() : json::parse(info->second, nullptr, false);
  return header.is_object() ? header.value("iterations", int64_t{-1}) : -1;
}

// A killed process may have left the best model of a checkpoint before or after that was complete.
// `best_iteration`: the checkpoint's.
void settle_best(const fs::path& folder, int64_t best_iteration) {
  const fs::path next = folder / kNextBest, best = folder / kBest;
  if (!fs::exists(next)) return;
  std::error_code error;
  const fs::path next_moments = moments_file(next);
  if (best_iteration > 0 && iterations_of_model(next) == best_iteration) {
    if (fs::exists(next_moments)) fs::rename(next_moments, moments_file(best), error);
    if (!error) fs::rename(next, best, error);
  } else {
    fs::remove(next_moments, error);
    if (!error) fs::remove(next, error);
  }
  if (error) throw Error(fmt::format("cannot put '{}' in its place: {}", next.string(), error.message()));
}

}  // namespace

// Of the best model since the last checkpoint, with their bytes; nothing where there is none.
struct TrainingLoop::BestFiles {
  PreparedFile model, moments;
  size_t bytes() const { return model.bytes + moments.bytes; }
  void write(const fs::path& folder) const {
    if (model.write) model.write(folder / kNextBest);
    if (moments.write) moments.write(moments_file(folder / kNextBest));
  }
};

TrainingLoop::TrainingLoop(Backend& backend, TrainingTask& task, StageFolder& folder,
                           const TrainingViews& test, const Settings& settings, Progress& progress,
                           PhaseClock& phases)
    : backend_(backend),
      task_(task),
      folder_(folder),
      test_(test),
      settings_(settings),
      progress_(progress),
      phases_(phases) {}

double TrainingLoop::seconds() const {
  return earlier_seconds_ + seconds_since(start_);
}

Error TrainingLoop::diverged(const std::string& what) {
  writer_.finish();
  const std::string kept = checkpoint_iteration_ >= 0
                               ? fmt::format("the checkpoint of iteration {} and the models beside it stay",
                                             checkpoint_iteration_.load())
                               : "there was no checkpoint yet";
  return Error(fmt::format(
      "training diverged at iteration {}: {}; begin anew in another folder or with --overwrite, with "
      "smaller learning rates (rate.*) or another seed ({})",
      task_.done(), what, kept));
}

template <class Work>
auto TrainingLoop::stopping_at_nonsense(const Work& work) {
  try {
    return work();
  } catch (const NotFinite& what) {
    throw diverged(what.what());
  }
}

// ---------------------------------------------------------------- checkpoints

std::string TrainingLoop::text_of(const Evaluation& evaluation) {
  json record = {{"stage", evaluation.stage},
                 {"iteration", evaluation.iteration},
                 {"psnr", evaluation.psnr},
                 {"ssim", evaluation.ssim},
                 {"l1", evaluation.l1}};
  if (evaluation.gaussians > 0) record["gaussians"] = evaluation.gaussians;
  return record.dump();
}

std::string TrainingLoop::extra() {
  json evaluations = json::array();
  for (const Evaluation& evaluation : evaluations_) evaluations.push_back(json::parse(text_of(evaluation)));
  return json({{"run", folder_.fingerprint()},
               {"evaluations", evaluations},
               {"best_psnr", best_psnr_},
               {"best_iteration", best_iteration_},
               {"seconds", seconds()},
               {"phases", phases_.seconds()}})
      .dump();
}

void TrainingLoop::read_extra(const std::string& extra) {
  const fs::path path = file(kCheckpoint);
  try {
    const json kept = json::parse(extra);
    if (kept.value("run", folder_.fingerprint()) != folder_.fingerprint())
      throw Error(
          fmt::format("the checkpoint '{}' belongs to a run of other settings or another dataset than the "
                      "manifest beside it: "
                      "delete it, or start anew with --overwrite",
                      path.string()));
    for (const json& record : kept.at("evaluations"))
      evaluations_.push_back({record.at("stage"), record.at("iteration"), record.at("psnr"),
                              record.at("ssim"), record.at("l1"), record.value("gaussians", int64_t{0})});
    best_psnr_ = kept.value("best_psnr", -1.0);
    best_iteration_ = kept.value("best_iteration", int64_t{0});
    earlier_seconds_ = kept.value("seconds", 0.0);
    // Earlier versions knew fewer.
    const auto phases = kept.value("phases", std::vector<double>{});
    PhaseClock::Seconds earlier{};
    std::copy_n(phases.begin(), std::min(phases.size(), earlier.size()), earlier.begin());
    phases_.add(earlier);
  } catch (const json::exception&) {
    throw Error(
        fmt::format("the checkpoint '{}' is damaged (what was measured before cannot be read): delete it, "
                    "and the same command "
                    "begins this training anew",
                    path.string()));
  }
}

bool TrainingLoop::resume() {
  const bool found = fs::exists(file(kCheckpoint));
  if (found) {
    read_extra(task_.load_state(file(kCheckpoint)));
    checkpoint_iteration_ = task_.done();
    progress_.message(fmt::format("continuing from iteration {}", task_.done()));
  }
  settle_best(folder_.path(), best_iteration_);
  log_.emplace(folder_.path(), task_.done());
  return found;
}

// Frees its memory on the device.
TrainingLoop::BestFiles TrainingLoop::prepare_best() {
  BestFiles files;
  if (!unsaved_best_) return files;
  const Best& best = *unsaved_best_;
  files.model = stopping_at_nonsense([&] { return prepare_model(best.info, best.gaussians, &best.field); });
  if (!best.moments.empty()) files.moments = prepare_moments(best.moments, best.info.iterations);
  unsaved_best_.reset();
  return files;
}

// The figures of the last iteration.
std::vector<Figure> TrainingLoop::sound_loss() {
  std::vector<Figure> figures = task_.loss();
  for (const Figure& figure : figures)
    if (!std::isfinite(figure.value)) throw diverged(fmt::format("'{}' is {}", figure.name, figure.value));
  return figures;
}

void TrainingLoop::save_checkpoint() {
  const PhaseClock::During files(phases_, Phase::files);
  writer_.finish();
  log_->flush();
  sound_loss();
  const BestFiles best = prepare_best();
  const PreparedFile state = stopping_at_nonsense([&] { return task_.prepare_state(extra()); });
  writer_.push(best.bytes() + state.bytes,
               [this, best, state, done = task_.done(), iteration = best_iteration_] {
                 best.write(folder_.path());
                 state.write(file(kCheckpoint));
                 checkpoint_iteration_ = done;
                 settle_best(folder_.path(), iteration);
               });
}

// ---------------------------------------------------------------- training

void TrainingLoop::log_step() {
  const std::vector<Figure> figures = sound_loss();
  log_->step(task_.done(), task_.stage(), figures);
  const double psnr = figure_named(figures, "psnr");
  shown_psnr_ = shown_psnr_ == 0 ? psnr : 0.9 * shown_psnr_ + 0.1 * psnr;
  progress_.update(task_.done(),
                   {{"Gaussians", static_cast<double>(task_.gaussians().count())}, {"PSNR", shown_psnr_}});
}

// Kept from one evaluation to the next: where memory is taken and given back, a device may have to prepare
// the iterations anew.
Renderer& TrainingLoop::evaluation_renderer() {
  if (!evaluation_renderer_)
    evaluation_renderer_.emplace(backend_, render_options(task_.model_info().options));
  return *evaluation_renderer_;
}

void TrainingLoop::evaluate_now() {
  if (test_.empty()) return;
  const PhaseClock::During evaluation(phases_, Phase::evaluation);
  const size_t shown = test_.size() / 2;  // the picture that the log keeps
  Picture picture;
  const ModelInfo info = task_.model_info();
  latest_ = evaluate(evaluation_renderer(), task_.gaussians(), task_.field(), info.options, test_,
                     [&](size_t view, const Tensor& image, const Tensor&) {
                       if (view == shown)
                         picture = side_by_side(to_picture(image), view_picture(test_[view].picture));
                     });
  if (!std::isfinite(latest_->psnr)) throw diverged(fmt::format("the test PSNR is {}", latest_->psnr));
  evaluations_.push_back({task_.stage(), task_.iteration(), latest_->psnr, latest_->ssim, latest_->l1,
                          task_.gaussians().count()});
  log_->evaluation(task_.done(), text_of(evaluations_.back()), *latest_, std::move(picture));
  progress_.update(task_.done(), {{"test PSNR", latest_->psnr}});
  warn_of_collapse();
  if (!settings_.keep_best || !task_.field() || latest_->psnr <= best_psnr_) return;
  best_psnr_ = latest_->psnr;
  best_iteration_ = task_.done();
  unsaved_best_.reset();  // its memory first
  unsaved_best_ = Best{info, task_.gaussians().clone(), task_.field()->clone(), {}};
  for (const auto& [name, moments] : task_.moments())
    unsaved_best_->moments[name] = {moments.first.clone(), moments.second.clone(), moments.steps};
}

// Rates that are too high need not lead to NaN: density control removes what they spoil, until hardly
// anything is left. (An opacity reset costs decibels for a while, but not three quarters of the Gaussians.)
void TrainingLoop::warn_of_collapse() {
  const Evaluation& now = evaluations_.back();
  int64_t most = 0;
  double best = 0;
  for (const Evaluation& evaluation : evaluations_) {
    if (evaluation.stage != now.stage) continue;
    most = std::max(most, evaluation.gaussians);
    best = std::max(best, evaluation.psnr);
  }
  if (collapse_told_ || now.gaussians * 4 >= most || now.psnr > best - 3) return;
  collapse_told_ = true;
  warn(fmt::format(
      "training collapses: at iteration {} {} of {} Gaussians are left, and the test PSNR fell from {:.1f} "
      "to "
      "{:.1f} dB; begin anew with smaller learning rates (rate.scale, rate.opacity, rate.grid, rate.network) "
      "or less pruning (density.prune_*)",
      task_.done(), now.gaussians, most, best, now.psnr));
}

template <class Work>
void TrainingLoop::saying_what_is_kept(const Work& work) {
  try {
    work();
  } catch (const OutOfMemory& error) {
    writer_.finish();
    if (checkpoint_iteration_ < 0) throw;
    throw OutOfMemory(
        fmt::format("{}; the checkpoint of iteration {} stays, and the same command continues from it where "
                    "there is more memory",
                    error.what(), checkpoint_iteration_.load()));
  }
}

// One that a killed process wrote is written again with the same bits.
void TrainingLoop::keep_numbered_model() {
  const int64_t number = task_.model_number();
  if (number == 0 ||
      std::find(settings_.models.begin(), settings_.models.end(), number) == settings_.models.end())
    return;
  const PhaseClock::During files(phases_, Phase::files);
  const PreparedFile model = stopping_at_nonsense(
      [&] { return prepare_model(task_.model_info(), task_.gaussians(), task_.field()); });
  writer_.push(model.bytes,
               [model, path = folder_.path() / numbered_model_name(number)] { model.write(path); });
}

void TrainingLoop::run() {
  const PhaseClock::During training(phases_, Phase::training);
  progress_.begin(task_.total(), settings_.label, task_.done());
  auto last_checkpoint = Clock::now();
  while (task_.done() < task_.total()) {
    saying_what_is_kept([&] { task_.step(); });
    latest_.reset();
    keep_numbered_model();
    const int64_t done = task_.done();
    if (done % kLogInterval == 0 || done >= task_.total()) log_step();
    // At the end too, so that the last model can be the best.
    if (task_.iteration() % settings_.evaluate_interval == 0 || done >= task_.total())
      saying_what_is_kept([&] { evaluate_now(); });
    const bool by_count = settings_.checkpoint_interval > 0 && done % settings_.checkpoint_interval == 0;
    const bool interrupted = interrupt_requested();
    if (by_count || interrupted || seconds_since(last_checkpoint) > settings_.checkpoint_seconds) {
      save_checkpoint();
      last_checkpoint = Clock::now();
      if (interrupted) {
        writer_.finish();
        throw Interrupted(fmt::format("stopped at iteration {} of {}; the same command continues from there",
                                      done, task_.total()));
      }
    }
  }
  progress_.end();
}

// ---------------------------------------------------------------- results

void TrainingLoop::save_model(const char* name) {
  const PhaseClock::During files(phases_, Phase::files);
  const PreparedFile model = stopping_at_nonsense(
      [&] { return prepare_model(task_.model_info(), task_.gaussians(), task_.field()); });
  const BestFiles best = prepare_best();
  writer_.push(model.bytes + best.bytes(), [this, model, best, path = file(name)] {
    model.write(path);
    best.write(folder_.path());
  });
}

EvaluationMetrics TrainingLoop::evaluate_test() {
  const PhaseClock::During evaluation(phases_, Phase::evaluation);
  if (!latest_)
    latest_ =
        evaluate(evaluation_renderer(), task_.gaussians(), task_.field(), task_.model_info().options, test_);
  return *latest_;
}

void TrainingLoop::complete(const std::string& preset, const std::vector<SplitResult>& splits,
                            const fs::path& dataset) {
  const PhaseClock::During files(phases_, Phase::files);
  log_->flush();
  json split_figures = json::object(), evaluations = json::array();
  for (const SplitResult& split : splits) {
    split_figures[split.name] = metrics_json(split.metrics);
    split_figures[split.name]["pictures"] = split.metrics.views.size();
  }
  for (const Evaluation& evaluation : evaluations_) evaluations.push_back(json::parse(text_of(evaluation)));
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  json metrics = {
      {"iterations", task_.model_info().iterations},
      {"gaussians", task_.gaussians().count()},
      {"preset", preset},
      {"splits", split_figures},
      {"evaluations", evaluations},
      {"run",
       {{"seconds", seconds()}, {"peak_memory_mib", usage.ru_maxrss / 1024}, {"backend", backend_.name()}}}};
  const RecordedPath place = recorded(fs::absolute(dataset).lexically_normal());
  metrics["run"]["dataset"] = place.text;
  if (!place.bytes.empty()) metrics["run"]["dataset_bytes"] = place.bytes;
  if (best_iteration_ > 0) metrics["best"] = {{"psnr", best_psnr_}, {"iteration", best_iteration_}};
  writer_.finish();
  settle_best(folder_.path(), best_iteration_);
  const PhaseClock::Seconds phases = phases_.seconds();
  for (size_t i = 0; i < kPhaseCount; ++i) metrics["run"]["phases"][kPhaseNames[i]] = phases[i];
  write_file_atomically(file("metrics.json"),
                        metrics.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
  folder_.finish();
  std::error_code ignored;
  fs::remove(file(kCheckpoint), ignored);
}

}  // namespace eg4d
