#pragma once

#include <chrono>
#include <filesystem>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "pipeline/job_queue.h"
#include "pipeline/viewed_object.h"
#include "view/viewer_content.h"

namespace eg4d {

// A preset of `eg4d generate` that the page offers.
struct OfferedPreset {
  std::string name, about;
  std::string missing;  // why it cannot run here; empty when it can
};

// What `eg4d view` shows: one object, or the runs under a folder with the jobs that make new ones.
class RunLibrary : public ViewerLibrary {
 public:
  // One object.
  RunLibrary(const ViewedModel& shown, bool token_reads);
  // The runs under `folder`, at most three levels down; links are not followed. `shown.model` is set for
  // each. Without `jobs` nothing can be made; `no_jobs` says why.
  RunLibrary(std::filesystem::path folder, ViewedModel shown, bool token_reads,
             std::unique_ptr<JobQueue> jobs, std::string no_jobs, std::vector<OfferedPreset> presets);

  std::string home() override;
  std::string list() override;
  std::optional<std::string> describe(const std::string& run) override;
  std::shared_ptr<ViewerContent> open(const std::string& run) override;
  std::optional<std::string> picture(const std::string& run, const RunPicture& which) override;
  std::optional<bool> command(const std::string& run, const std::string& word) override;
  std::string upload(const std::string& preset, const std::string& name, std::string_view bytes) override;

  // Of the server's thread, some times a second.
  void tick();
  // For the thread that makes scenes: what is open, the last used first.
  std::vector<std::shared_ptr<ViewedObject>> opened() const;

  static constexpr size_t kMostRuns = 500;
  static constexpr size_t kMostOpened = 4;    // of which nobody needs to ask any more
  static constexpr size_t kMostWatched = 12;  // beyond, open() throws Refusal

 private:
  using Clock = std::chrono::steady_clock;
  struct Opened {
    std::string run;
    std::shared_ptr<ViewedObject> object;
  };
  void scan();
  // The run folder of that name, looked for anew when it is not known; empty when there is none.
  std::filesystem::path find(const std::string& run);
  const Job* job_of(const std::filesystem::path& run) const;

  const std::filesystem::path folder_;  // empty: one object
  const ViewedModel shown_;
  const bool token_reads_;
  const std::unique_ptr<JobQueue> jobs_;
  const std::string no_jobs_;
  bool warned_ = false;
  const std::vector<OfferedPreset> presets_;
  std::map<std::string, std::filesystem::path> runs_;  // by what the page calls them
  Clock::time_point scanned_ = {};
  std::map<std::string, std::pair<int64_t, std::string>> thumbnails_;  // of a run, as of a time
  mutable std::mutex mutex_;
  std::list<Opened> opened_;
};

}  // namespace eg4d
