#include "pipeline/run_library.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "core/log.h"
#include "core/version.h"
#include "io/folder.h"
#include "io/sha256.h"
#include "pipeline/run_summary.h"
#include "view/viewer_site.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kOnlyObject = "object";  // what the page calls the one that is shown alone
constexpr int kLevels = 3;
constexpr size_t kMostEntries = 20000;  // of folders that are looked through
constexpr auto kScanPeriod = std::chrono::seconds(2);
constexpr int kThumbnailSide = 256, kPreviewSide = 160;
constexpr size_t kMostThumbnails = 256;

// File names may be any bytes, JSON is UTF-8.
std::string text_of(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

// Tells where the run lies and is no path.
std::string id_of(const fs::path& folder, const fs::path& run) {
  const std::string place = run.lexically_relative(folder).generic_string();
  Sha256 hash;
  hash.update(place.data(), place.size());
  return hash.hex().substr(0, 16);
}

// Folders with runs in them, not followed into the runs.
void collect_runs(const fs::path& folder, int levels, size_t& entries, std::vector<fs::path>& runs) {
  std::error_code error;
  std::vector<fs::path> inside;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (++entries > kMostEntries || runs.size() >= RunLibrary::kMostRuns) return;
    if (entry.is_symlink(error) || !entry.is_directory(error) ||
        entry.path().filename().string().starts_with('.'))
      continue;
    (is_run(entry.path()) ? runs : inside).push_back(entry.path());
  }
  if (levels > 1)
    for (const fs::path& path : inside) collect_runs(path, levels - 1, entries, runs);
}

json finite(double value) {
  return std::isfinite(value) ? json(value) : json();
}

// What runs and jobs have in common in the list and alone.
json describe_summary(const fs::path& run, const RunSummary& summary, const Job* job, const JobQueue* jobs) {
  json description = {{"state", name_of(summary.state)},
                      {"stage", summary.stages.empty() ? "" : summary.stages.back().name},
                      {"changed", summary.changed},
                      {"psnr", finite(summary.psnr)},
                      {"model", summary.has_model}};
  if (!job) return description;
  const bool paused = summary.state == RunSummary::State::paused;
  if (!(job->state == Job::State::running && paused) && job->state != Job::State::done)
    description["state"] = name_of(job->state);
  // What was begun by an earlier viewer and still runs.
  if (job->state == Job::State::waiting && summary.state == RunSummary::State::running)
    description["state"] = "running";
  json& told = description["job"] = {{"preset", job->preset}, {"message", job->message}};
  if (job->state == Job::State::waiting) told["before"] = jobs->place_of(run.filename().string());
  if (job->state != Job::State::running) return description;
  const JobProgress progress = progress_of_job(run);
  told["progress"] = {{"label", progress.label},
                      {"step", progress.step},
                      {"total", progress.total},
                      {"seconds_left", progress.seconds_left},
                      {"warning", progress.warning}};
  return description;
}

}  // namespace

RunLibrary::RunLibrary(const ViewedModel& shown, bool token_reads)
    : shown_(shown), token_reads_(token_reads) {
  runs_.emplace(kOnlyObject, shown.model);
  opened_.push_back({kOnlyObject, std::make_shared<ViewedObject>(shown, token_reads)});
}

RunLibrary::RunLibrary(fs::path folder, ViewedModel shown, bool token_reads, std::unique_ptr<JobQueue> jobs,
                       std::string no_jobs, std::vector<OfferedPreset> presets)
    : folder_(std::move(folder)),
      shown_(std::move(shown)),
      token_reads_(token_reads),
      jobs_(std::move(jobs)),
      no_jobs_(std::move(no_jobs)),
      presets_(std::move(presets)) {}

void RunLibrary::scan() {
  if (folder_.empty()) return;
  scanned_ = Clock::now();
  std::vector<fs::path> found;
  size_t entries = 0;
  collect_runs(folder_, kLevels, entries, found);
  runs_.clear();
  for (fs::path& run : found) runs_.emplace(id_of(folder_, run), std::move(run));
}

fs::path RunLibrary::find(const std::string& run) {
  auto found = runs_.find(run);
  if (found == runs_.end() && Clock::now() - scanned_ > kScanPeriod) {
    scan();
    found = runs_.find(run);
  }
  return found == runs_.end() ? fs::path() : found->second;
}

const Job* RunLibrary::job_of(const fs::path& run) const {
  return jobs_ && run.parent_path() == folder_ ? jobs_->find(run.filename().string()) : nullptr;
}

std::string RunLibrary::home() {
  json description = {
      {"program", kVersion}, {"token_reads", token_reads_}, {"run", json()}, {"title", ""}, {"make", json()}};
  if (folder_.empty()) {
    description["run"] = kOnlyObject;
    return text_of(description);
  }
  const fs::path plain = fs::absolute(folder_).lexically_normal();
  description["title"] = (plain.has_filename() ? plain : plain.parent_path()).filename().string();
  description["no_make"] = no_jobs_;
  if (!jobs_) return text_of(description);
  json& make = description["make"] = {{"most_bytes", ViewerSite::kMostUpload},
                                      {"most_pixels", JobQueue::kMostPixels},
                                      {"most_frames", JobQueue::kMostFrames},
                                      {"presets", json::array()}};
  for (const OfferedPreset& preset : presets_)
    make["presets"].push_back({{"name", preset.name}, {"about", preset.about}, {"missing", preset.missing}});
  return text_of(description);
}

std::string RunLibrary::list() {
  if (Clock::now() - scanned_ > kScanPeriod) scan();
  json runs = json::array();
  for (const auto& [id, run] : runs_) {
    json description = describe_summary(run, summarize_run(run), job_of(run), jobs_.get());
    description["id"] = id;
    description["name"] =
        folder_.empty() ? run.filename().string() : run.lexically_relative(folder_).generic_string();
    runs.push_back(std::move(description));
  }
  return text_of({{"runs", std::move(runs)}, {"cut", runs_.size() >= kMostRuns}});
}

std::optional<std::string> RunLibrary::describe(const std::string& id) {
  const fs::path run = find(id);
  if (run.empty()) return {};
  const RunSummary summary = summarize_run(run);
  json description = describe_summary(run, summary, job_of(run), jobs_.get());
  description["id"] = id;
  const fs::path plain = fs::absolute(run).lexically_normal();
  description["name"] = folder_.empty()
                            ? (plain.has_filename() ? plain : plain.parent_path()).filename().string()
                            : run.lexically_relative(folder_).generic_string();
  json& stages = description["stages"] = json::array();
  for (const RunSummary::Stage& stage : summary.stages)
    stages.push_back({{"name", stage.name}, {"finished", stage.finished}, {"seconds", stage.seconds}});
  const PaintedPictures painted = painted_in_run(run);
  description["frames"] = painted.frames;
  description["views"] = painted.views;
  return text_of(description);
}

std::shared_ptr<ViewerContent> RunLibrary::open(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto known =
      std::find_if(opened_.begin(), opened_.end(), [&](const Opened& opened) { return opened.run == id; });
  if (known != opened_.end()) {
    opened_.splice(opened_.begin(), opened_, known);
    return opened_.front().object;
  }
  ViewedModel shown = shown_;
  shown.model = find(id);
  if (shown.model.empty()) return nullptr;
  shown.live = true;
  if (opened_.size() >= kMostOpened) {
    const auto idle = std::find_if(opened_.rbegin(), opened_.rend(),
                                   [](const Opened& opened) { return !opened.object->is_watched(); });
    if (idle != opened_.rend())
      opened_.erase(std::next(idle).base());
    else if (opened_.size() >= kMostWatched)
      throw Refusal(503, "too many objects are looked at just now");
  }
  opened_.push_front({id, std::make_shared<ViewedObject>(shown, token_reads_)});
  return opened_.front().object;
}

std::optional<std::string> RunLibrary::picture(const std::string& id, const RunPicture& which) {
  const fs::path run = find(id);
  if (run.empty()) return {};
  if (which.kind != RunPicture::Kind::thumbnail) return picture_of_run(run, which, kPreviewSide);
  const int64_t changed = summarize_run(run).changed;
  auto& [time, bytes] = thumbnails_[id];
  if (bytes.empty() || time != changed) {
    bytes = picture_of_run(run, which, kThumbnailSide).value_or("");
    time = changed;
  }
  const std::optional<std::string> result = bytes.empty() ? std::nullopt : std::optional(bytes);
  if (thumbnails_.size() > kMostThumbnails) thumbnails_.clear();
  return result;
}

std::optional<bool> RunLibrary::command(const std::string& id, const std::string& word) {
  const fs::path run = find(id);
  if (run.empty() || !job_of(run)) return {};
  if (word == "cancel") return jobs_->cancel(run.filename().string());
  if (word == "resume") return jobs_->resume(run.filename().string());
  return {};
}

std::string RunLibrary::upload(const std::string& preset, const std::string& name, std::string_view bytes) {
  if (!jobs_) throw Refusal(409, no_jobs_.empty() ? "this viewer makes nothing" : no_jobs_);
  const auto offered = std::find_if(presets_.begin(), presets_.end(),
                                    [&](const OfferedPreset& known) { return known.name == preset; });
  if (offered == presets_.end()) throw Refusal(404, "there is no preset of that name");
  if (!offered->missing.empty()) throw Refusal(409, offered->missing);
  const std::string run = jobs_->add(preset, name, bytes);
  scan();
  return text_of({{"id", id_of(folder_, folder_ / run)}});
}

void RunLibrary::tick() {
  if (!jobs_) return;
  try {
    jobs_->tick();
  } catch (const std::exception& error) {
    if (!std::exchange(warned_, true))
      warn(fmt::format("the jobs cannot be looked after: {}", error.what()));  // it tries again
  }
}

std::vector<std::shared_ptr<ViewedObject>> RunLibrary::opened() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<ViewedObject>> objects;
  for (const Opened& opened : opened_) objects.push_back(opened.object);
  return objects;
}

}  // namespace eg4d
