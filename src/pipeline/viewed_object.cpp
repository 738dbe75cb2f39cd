#include "pipeline/viewed_object.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <new>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "view/scene_file.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

constexpr int kRest = 50;
constexpr auto kLeastRest = std::chrono::seconds(1);
constexpr auto kAttention = std::chrono::seconds(10);  // that a page's question lasts

}  // namespace

ViewedObject::ViewedObject(ViewedModel shown, bool token_reads)
    : shown_(std::move(shown)),
      token_reads_(token_reads),
      info_(viewer_info({}, shown_.model, {}, {true, token_reads, shown_.live})) {
  if (shown_.live) watch_.emplace(shown_.model);
}

std::string ViewedObject::info() {
  const std::lock_guard lock(mutex_);
  asked_ = Clock::now();
  return info_;
}

std::string ViewedObject::cameras() {
  std::unique_lock lock(mutex_);
  const std::shared_ptr<ViewerDataset> dataset = dataset_;
  lock.unlock();
  return dataset ? dataset->cameras() : "{\"splits\":[],\"note\":\"There is no model yet.\"}";
}

std::optional<std::string> ViewedObject::picture(const std::string& split, size_t index) {
  std::unique_lock lock(mutex_);
  const std::shared_ptr<ViewerDataset> dataset = dataset_;
  lock.unlock();
  return dataset ? dataset->picture(split, index) : std::nullopt;
}

std::shared_ptr<const GrowingBytes> ViewedObject::scene() {
  const std::lock_guard lock(mutex_);
  asked_ = Clock::now();
  return scene_;
}

std::string ViewedObject::status() {
  const std::lock_guard lock(mutex_);
  asked_ = Clock::now();
  return fmt::format("{{\"version\":{},\"failure\":{},\"training\":{}}}", version_,
                     nlohmann::json(failure_).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
                     watch_ ? watch_->status() : "null");
}

std::optional<bool> ViewedObject::command(const std::string& word) {
  const std::map<std::string, RunWatch::Signal> words = {{"pause", RunWatch::Signal::pause},
                                                         {"continue", RunWatch::Signal::go_on},
                                                         {"stop", RunWatch::Signal::stop}};
  const auto found = words.find(word);
  if (found == words.end()) return {};
  const std::lock_guard lock(mutex_);
  return watch_ && watch_->send(found->second);
}

bool ViewedObject::is_watched() const {
  const std::lock_guard lock(mutex_);
  return asked_ != Clock::time_point() && Clock::now() - asked_ < kAttention;
}

ViewedObject::FileState ViewedObject::state_of_model() const {
  std::error_code error;
  FileState state;
  try {
    state.place = model_place(shown_.model, shown_.choice.which, shown_.choice.iteration);
  } catch (const Error&) {
    return state;
  }
  state.time = fs::last_write_time(state.place, error);
  state.size = fs::is_regular_file(state.place, error) ? fs::file_size(state.place, error) : 0;
  return state;
}

bool ViewedObject::is_due() const {
  if (model_) return true;
  if (made_ != FileState() && !shown_.live) return false;
  if (Clock::now() < next_ || !is_watched()) return false;
  const FileState now = state_of_model();
  return now != FileState() && now != made_;
}

void ViewedObject::open(Backend& backend) {
  begin_ = Clock::now();
  opened_ = state_of_model();
  model_ = open_model(backend, shown_.model, shown_.choice);
  const std::lock_guard lock(mutex_);
  info_ = viewer_info(model_->info, shown_.model, opened_.place, {true, token_reads_, shown_.live});
  if (!dataset_) dataset_ = std::make_shared<ViewerDataset>(shown_.model, shown_.dataset, model_->info);
}

void ViewedObject::show(std::shared_ptr<const GrowingBytes> scene) {
  const std::lock_guard lock(mutex_);
  scene_ = std::move(scene);
  failure_.clear();
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  version_ =
      std::max<int64_t>(version_ + 1, std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

void ViewedObject::fail(const std::string& sentence) {
  const std::lock_guard lock(mutex_);
  failure_ = sentence;
}

std::string ViewedObject::make(Backend& backend, Progress& progress, const std::function<bool()>& stop) {
  const auto scene = std::make_shared<GrowingBytes>();
  const bool first = made_ == FileState();
  std::string failure;
  try {
    if (!model_) open(backend);
    if (first) show(scene);
    make_scene_file(
        backend, *model_, shown_.moments, true, progress,
        [&](const std::string& piece) { scene->append(piece); }, stop);
    scene->finish();
    if (!first) show(scene);
    made_ = opened_;
  } catch (const Error& error) {
    failure = error.what();  // also a file that is just being replaced
  } catch (const std::bad_alloc&) {
    failure = "there is not enough memory to show the model";
  }
  model_.reset();  // its memory is not needed while nothing changes
  if (!failure.empty()) {
    scene->finish(failure);
    fail(failure);
  }
  const auto took = Clock::now() - begin_;
  next_ = Clock::now() + std::max<Clock::duration>(kRest * took, kLeastRest);
  return failure;
}

void make_scene_file(Backend& backend, const Model& model, int moments, bool own_colors, Progress& progress,
                     const std::function<void(std::string)>& emit, const std::function<bool()>& stop) {
  const SceneOptions options{moments, own_colors};
  progress.begin(moment_count(model.info, options), "moments");
  int64_t step = 0;
  const Scene scene = scene_of_model(backend, model, options, [&] {
    progress.update(step++);
    return stop();
  });
  encode_scene(scene, {}, emit, stop);
  progress.end();
}

}  // namespace eg4d
