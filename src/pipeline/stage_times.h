#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <string>

namespace eg4d {

class Backend;

// What each stage of a run took, over all calls: <run>/generate.json, {"animate": {"seconds",
// "peak_memory_mib" (the process's), "device_memory_mib" (the backend's arrays, as seen at signs of life; on
// the processor a part of the former), "parts": {"denoising": seconds, …}}, …}. Time is written while a stage
// runs, so that a killed call's counts too.
class StageTimes {
 public:
  StageTimes(const std::filesystem::path& run, const Backend& backend);

  // From now on time counts for the stage.
  void begin(const std::string& stage);
  // Called often; writes every other second. What passes until the next call counts for the part `label`.
  void tick(const std::string& label);
  // The stage is over, also by an exception. One that had been finished before costs nothing.
  void end(bool already_done = false);

 private:
  struct Record {
    double seconds = 0;
    int64_t peak_memory_mib = 0, device_memory_mib = 0;
    std::map<std::string, double> parts;  // seconds
  };
  Record read(const std::string& stage) const;
  void write(const Record& record);
  void look();

  std::filesystem::path path_;
  const Backend& backend_;
  std::string stage_, part_;
  Record now_;      // of this call
  Record earlier_;  // of earlier calls
  std::chrono::steady_clock::time_point looked_, written_;
  bool ticked_ = false;
};

}  // namespace eg4d
