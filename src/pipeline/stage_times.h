#pragma once

#include <chrono>
#include <filesystem>
#include <string>

namespace eg4d {

// What each stage of a run took, over all calls: <run>/generate.json, {"animate": {"seconds",
// "peak_memory_mib"}, …}. Time is written while a stage runs, so that a killed call's counts too.
class StageTimes {
 public:
  explicit StageTimes(const std::filesystem::path& run);

  // From now on time counts for the stage.
  void begin(const std::string& stage);
  // Called often; writes every other second.
  void tick();
  // The stage is over, also by an exception. One that had been finished before costs nothing.
  void end(bool already_done = false);

 private:
  struct Record {
    double seconds = 0;
    int64_t peak_memory_mib = 0;
  };
  Record read(const std::string& stage) const;
  void write(const Record& record);

  std::filesystem::path path_;
  std::string stage_;
  Record earlier_;  // of earlier calls
  std::chrono::steady_clock::time_point start_, written_;
  bool ticked_ = false;
};

}  // namespace eg4d
