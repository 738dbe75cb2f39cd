#pragma once

#include <cstdint>
#include <vector>

#include "splat/options.h"
#include "splat/training_data.h"

namespace eg4d {

enum class Stage { coarse, fine };
const char* name_of(Stage stage);

// exp(lerp(log first, log last, iteration/steps)), the last value from `steps` on; 0 when either is 0.
float log_linear(float first, float last, int64_t iteration, int64_t steps);

struct LearningRates {
  float position, network, grid, sh_dc, sh_rest, opacity, scale, rotation;
};
LearningRates learning_rates(const ReconstructOptions::LearningRate& rates, int64_t iteration, double extent);

// Which pictures an iteration sees: epochs over all views, shuffled, or, with replacement, views drawn anew
// each time; with several views per iteration they share one time. A function of (seed, stage, iteration)
// alone, so that a resumed run sees what the uninterrupted one would.
class ViewSchedule {
 public:
  static constexpr int kLargestDivisor = 4;
  ViewSchedule(const TrainingViews& views, const ReconstructOptions::Schedule& options, uint64_t seed);

  // Indices of the views of this iteration (1-based, per stage).
  const std::vector<int>& views(Stage stage, int64_t iteration);
  // 1 to kLargestDivisor: the picture size is divided by it.
  int divisor(Stage stage, int64_t iteration) const;

 private:
  struct Epochs {
    std::vector<std::vector<int>> by_time;  // views of one time
    size_t groups = 0;                      // iterations per epoch
  };
  void prepare_epoch(Stage stage, int64_t epoch);
  const std::vector<int>& drawn(Stage stage, int64_t iteration);
  size_t group_size_;
  bool replacement_;
  uint64_t seed_;
  Epochs epochs_[2];       // coarse, fine
  int64_t prepared_ = -1;  // epoch·2 + stage of groups_
  std::vector<std::vector<int>> groups_;
  std::vector<int> drawn_;
};

}  // namespace eg4d
