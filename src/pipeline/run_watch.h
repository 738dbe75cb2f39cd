#pragma once

#include <chrono>
#include <deque>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace eg4d {

// A training run beside which something else looks on: what its folder tells while it goes on, and the
// signals that it takes. Reading disturbs it in no way; neither the folder nor its locks are touched.
class RunWatch {
 public:
  // A run folder; what it may become is looked at anew each time.
  explicit RunWatch(std::filesystem::path run) : run_(std::move(run)) {}

  // {"state": "running", "paused" or "ended", "stage", "iteration", "iterations" (0: not known), "gaussians",
  // "l1", "psnr", "seconds_left" (below 0: not known), "curve": [[iteration, l1, psnr]…] (at most
  // kMostPoints, thinned out), "tests": [[iteration, psnr]…]}
  std::string status();

  enum class Signal { pause, go_on, stop };  // stop: with a checkpoint, as Ctrl-C
  // Whether there was a process of this user to take it.
  bool send(Signal signal);

  static constexpr size_t kMostPoints = 300;

 private:
  struct Point {
    int64_t iteration = 0;
    double l1 = 0, psnr = 0;
  };
  void look();
  void read_log();
  void take_line(const std::string& line);
  double seconds_left() const;

  const std::filesystem::path run_;
  std::filesystem::path stage_;  // RUN/refined or RUN/coarse
  int process_ = 0;              // that works there
  int64_t iterations_ = 0;
  std::uintmax_t read_ = 0;  // bytes of the log
  std::string unfinished_;   // a line of it
  std::vector<Point> points_;
  size_t every_ = 1, skipped_ = 0;  // one of so many is kept
  std::vector<std::pair<int64_t, double>> tests_;
  Point last_;
  double gaussians_ = 0;
  using Clock = std::chrono::steady_clock;
  std::deque<std::pair<Clock::time_point, int64_t>> pace_;  // iterations that were seen lately
};

// The process of this user whose FileLock the file is; 0 when there is none. Only looks.
int lock_holder(const std::filesystem::path& file);

// Whether the process was paused (SIGSTOP).
bool is_stopped(int process);

}  // namespace eg4d
