#pragma once

// Timing and tables for the benchmarks.

#include <fmt/format.h>

#include <time.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

namespace eg4d::bench {

inline double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
// Processor time of the calling thread: what other programs take on a shared machine does not count.
inline double thread_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Median seconds of `repeats` calls after one that warms up, by the given clock.
template <class Work>
double median_seconds(int repeats, const Work& work, double (*clock)() = thread_seconds) {
  work();
  std::vector<double> seconds;
  for (int i = 0; i < repeats; ++i) {
    const double begin = clock();
    work();
    seconds.push_back(clock() - begin);
  }
  std::nth_element(seconds.begin(), seconds.begin() + repeats / 2, seconds.end());
  return seconds[static_cast<size_t>(repeats / 2)];
}

// Processor seconds of a single call, for plain versions that take long.
template <class Work>
double seconds_once(const Work& work) {
  const double begin = thread_seconds();
  work();
  return thread_seconds() - begin;
}

// A Markdown table, printed row by row.
class Table {
 public:
  explicit Table(const std::vector<std::string>& columns) {
    row(columns);
    row(std::vector<std::string>(columns.size(), "---"));
  }
  void row(const std::vector<std::string>& cells) const {
    fmt::print("|");
    for (const std::string& cell : cells) fmt::print(" {} |", cell);
    fmt::print("\n");
  }
};

inline std::string milliseconds(double seconds) {
  return fmt::format("{:.{}f}", seconds * 1e3, seconds < 1e-2 ? 2 : 1);
}

}  // namespace eg4d::bench
