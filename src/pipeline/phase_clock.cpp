#include "pipeline/phase_clock.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace eg4d {

PhaseClock::PhaseClock(double before) {
  seconds_[static_cast<size_t>(Phase::start)] = before;
}

void PhaseClock::enter(Phase phase) {
  const Clock::time_point now = Clock::now();
  seconds_[static_cast<size_t>(phase_)] += std::chrono::duration<double>(now - since_).count();
  since_ = now;
  phase_ = phase;
}

PhaseClock::Seconds PhaseClock::seconds() {
  enter(phase_);
  return seconds_;
}

void PhaseClock::add(const Seconds& earlier) {
  for (size_t i = 0; i < kPhaseCount; ++i) seconds_[i] += earlier[i];
}

double seconds_since_process_start() {
  // proc(5): field 22 of stat, in ticks since the system's start; the name in parentheses may hold spaces.
  std::ifstream file("/proc/self/stat");
  file.ignore(std::numeric_limits<std::streamsize>::max(), ')');
  std::string skipped;
  for (int field = 3; field < 22; ++field) file >> skipped;
  double ticks = 0;
  timespec now{};
  if (!(file >> ticks) || clock_gettime(CLOCK_BOOTTIME, &now) != 0) return 0;
  const double seconds = static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
  return std::max(0.0, seconds - ticks / static_cast<double>(sysconf(_SC_CLK_TCK)));
}

}  // namespace eg4d
