#pragma once

#include <array>
#include <chrono>

namespace eg4d {

// What a run spends its time on. Files: what is waited for; they are written beside the training. Targets:
// Stage III's pictures, with the networks that paint them.
enum class Phase { start, loading, training, evaluation, files, targets };
inline constexpr size_t kPhaseCount = 6;
inline constexpr std::array<const char*, kPhaseCount> kPhaseNames{"start",      "loading", "training",
                                                                  "evaluation", "files",   "targets"};

// Seconds of each phase: what passes counts for the phase that was entered last.
class PhaseClock {
 public:
  using Seconds = std::array<double, kPhaseCount>;

  // `before`: what the start took until now. The phase is loading then.
  explicit PhaseClock(double before = 0);

  void enter(Phase phase);
  // For as long as this lives; then the phase of before.
  class During {
   public:
    During(PhaseClock& clock, Phase phase) : clock_(clock), before_(clock.phase_) { clock.enter(phase); }
    ~During() { clock_.enter(before_); }
    During(const During&) = delete;
    During& operator=(const During&) = delete;

   private:
    PhaseClock& clock_;
    const Phase before_;
  };

  Seconds seconds();
  // Of an earlier process.
  void add(const Seconds& earlier);

 private:
  using Clock = std::chrono::steady_clock;
  Phase phase_ = Phase::loading;
  Clock::time_point since_ = Clock::now();
  Seconds seconds_{};
};

// Seconds since this process was started, to a hundredth; 0 where the system does not tell.
double seconds_since_process_start();

}  // namespace eg4d
