#include "pipeline/phase_clock.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace eg4d {
namespace {

void pass(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}
double of(const PhaseClock::Seconds& seconds, Phase phase) {
  return seconds[static_cast<size_t>(phase)];
}

TEST(PhaseClockTest, TimeCountsForThePhaseThatWasEnteredLast) {
  PhaseClock clock(5);
  pass(20);
  {
    const PhaseClock::During training(clock, Phase::training);
    pass(10);
    {
      const PhaseClock::During evaluation(clock, Phase::evaluation);
      pass(30);
    }
    pass(10);
  }
  PhaseClock::Seconds seconds = clock.seconds();
  EXPECT_EQ(of(seconds, Phase::start), 5);
  EXPECT_GE(of(seconds, Phase::loading), 0.02);
  EXPECT_GE(of(seconds, Phase::training), 0.02);
  EXPECT_GE(of(seconds, Phase::evaluation), 0.03);
  EXPECT_EQ(of(seconds, Phase::files), 0);

  PhaseClock later;
  later.add(seconds);
  EXPECT_EQ(of(later.seconds(), Phase::start), 5);
  EXPECT_GE(of(later.seconds(), Phase::training), 0.02);
}

TEST(PhaseClockTest, KnowsSinceWhenTheProcessRuns) {
  const double before = seconds_since_process_start();
  EXPECT_GE(before, 0);
  EXPECT_LT(before, 86400);
  pass(30);
  EXPECT_GE(seconds_since_process_start(), before + 0.02);
}

}  // namespace
}  // namespace eg4d
