#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "core/progress.h"
#include "pipeline/open_model.h"
#include "pipeline/run_watch.h"
#include "pipeline/view_info.h"
#include "view/viewer_content.h"

namespace eg4d {

class Backend;

// What of a model, or of a run that may go on being trained, is shown.
struct ViewedModel {
  std::filesystem::path model;  // what open_model takes; a run folder may have no model yet
  ModelChoice choice = {};
  std::filesystem::path dataset = {};  // empty: the one the model was trained on
  int moments = 0;                     // that are sent; 0: twice as many as the training video has
  bool live = false;                   // a run folder: newer models are taken
};

// One object of the viewer: the server's thread reads it while another one makes its scene file, and makes it
// again when there is a newer model and a page still asks.
class ViewedObject : public ViewerContent {
 public:
  // `token_reads`: as for ViewerServing.
  ViewedObject(ViewedModel shown, bool token_reads);

  std::string info() override;
  std::string cameras() override;
  std::optional<std::string> picture(const std::string& split, size_t index) override;
  std::shared_ptr<const GrowingBytes> scene() override;
  std::string status() override;
  std::optional<bool> command(const std::string& word) override;

  // Whether a page has asked lately.
  bool is_watched() const;

  // For the thread that makes scenes. Whether there is a model that is not shown yet, wanted, and due: after
  // a rest of fifty times what the last one took, so that what trains beside is slowed by a fiftieth at most.
  bool is_due() const;
  // Opens the model. Throws Error.
  void open(Backend& backend);
  // Opens the model unless it is open, makes its scene and shows it: the first one while it is being made.
  // What fails is told by status() and tried again after a rest. Returns the failure; empty when there was
  // none.
  std::string make(Backend& backend, Progress& progress, const std::function<bool()>& stop);

 private:
  using Clock = std::chrono::steady_clock;
  // By which a newer model is told.
  struct FileState {
    std::filesystem::path place;
    std::filesystem::file_time_type time;
    std::uintmax_t size = 0;
    bool operator==(const FileState&) const = default;
  };
  FileState state_of_model() const;
  void show(std::shared_ptr<const GrowingBytes> scene);
  void fail(const std::string& sentence);

  const ViewedModel shown_;
  const bool token_reads_;
  // Of the thread that makes scenes.
  std::optional<Model> model_;
  FileState opened_, made_;
  Clock::time_point begin_, next_;
  // Of both.
  mutable std::mutex mutex_;
  std::string info_, failure_;
  std::shared_ptr<ViewerDataset> dataset_;
  std::optional<RunWatch> watch_;
  std::shared_ptr<const GrowingBytes> scene_;
  int64_t version_ =
      0;  // milliseconds since 1970, so that an object that was closed meanwhile has another one
  Clock::time_point asked_ = {};
};

// Makes a scene file (view/scene_file.h), piece by piece, and tells how far it is. Throws Interrupted.
void make_scene_file(Backend& backend, const Model& model, int moments, bool own_colors, Progress& progress,
                     const std::function<void(std::string)>& emit, const std::function<bool()>& stop);

}  // namespace eg4d
