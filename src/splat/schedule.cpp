#include "splat/schedule.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "random/random.h"

namespace eg4d {
namespace {

// Random streams of a run; each also takes the stage and a counter.
constexpr uint64_t kShuffleStream = 1, kResolutionStream = 2, kDrawStream = 8;

uint64_t stream(uint64_t purpose, Stage stage, uint64_t counter) {
  return purpose << 56 | static_cast<uint64_t>(stage) << 48 | counter;
}

}  // namespace

const char* name_of(Stage stage) {
  return stage == Stage::coarse ? "coarse" : "fine";
}

float log_linear(float first, float last, int64_t iteration, int64_t steps) {
  if (first <= 0 || last <= 0) return 0;
  const double t = std::clamp(static_cast<double>(iteration) / static_cast<double>(steps), 0.0, 1.0);
  return static_cast<float>(
      std::exp(std::log(static_cast<double>(first)) * (1 - t) + std::log(static_cast<double>(last)) * t));
}

LearningRates learning_rates(const ReconstructOptions::LearningRate& r, int64_t iteration, double extent) {
  const float scale = static_cast<float>(extent);
  const float decay = log_linear(1, r.final_factor, iteration, r.steps);
  LearningRates rates{};
  rates.position = log_linear(r.position * scale, r.position_final * scale, iteration, r.steps);
  rates.network = log_linear(r.network * scale, r.network_final * scale, iteration, r.steps);
  rates.grid = log_linear(r.grid * scale, r.grid_final * scale, iteration, r.steps);
  rates.sh_dc = r.sh_dc * decay;
  rates.sh_rest = r.sh_dc / r.sh_rest_divisor * decay;
  rates.opacity = r.opacity * decay;
  rates.scale = r.scale * decay;
  rates.rotation = r.rotation * decay;
  return rates;
}

ViewSchedule::ViewSchedule(const TrainingViews& views, const ReconstructOptions::Schedule& options,
                           uint64_t seed)
    : group_size_(static_cast<size_t>(options.views)), replacement_(options.replacement), seed_(seed) {
  std::map<float, std::vector<int>> times;
  for (size_t i = 0; i < views.size(); ++i) times[views[i].time].push_back(static_cast<int>(i));
  float coarse_time = 0, nearest = 2;
  for (const auto& [time, members] : times)
    if (const float distance = std::abs(time - options.coarse_time); distance < nearest) {
      nearest = distance;
      coarse_time = time;
    }
  for (const auto& [time, members] : times) {
    const size_t groups = (members.size() + group_size_ - 1) / group_size_;
    for (const Stage stage : {Stage::coarse, Stage::fine}) {
      if (stage == Stage::coarse && options.coarse_time >= 0 && time != coarse_time) continue;
      Epochs& epochs = epochs_[static_cast<size_t>(stage)];
      epochs.by_time.push_back(members);
      epochs.groups += groups;
    }
  }
}

void ViewSchedule::prepare_epoch(Stage stage, int64_t epoch) {
  const int64_t key = epoch * 2 + static_cast<int64_t>(stage);
  if (key == prepared_) return;
  prepared_ = key;
  Philox random(seed_, stream(kShuffleStream, stage, static_cast<uint64_t>(epoch)));
  std::vector<std::vector<int>> groups;
  for (std::vector<int> members : epochs_[static_cast<size_t>(stage)].by_time) {
    random.shuffle(members);
    for (size_t begin = 0; begin < members.size(); begin += group_size_) {
      const size_t end = std::min(members.size(), begin + group_size_);
      groups.emplace_back(members.begin() + static_cast<long>(begin),
                          members.begin() + static_cast<long>(end));
    }
  }
  std::vector<int> order(groups.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
  random.shuffle(order);
  groups_.clear();
  for (int i : order) groups_.push_back(std::move(groups[static_cast<size_t>(i)]));
}

// A time as often as it has views; then as many of its views as an iteration sees, each once.
const std::vector<int>& ViewSchedule::drawn(Stage stage, int64_t iteration) {
  const auto& times = epochs_[static_cast<size_t>(stage)].by_time;
  Philox random(seed_, stream(kDrawStream, stage, static_cast<uint64_t>(iteration)));
  size_t all = 0, time = 0;
  for (const std::vector<int>& members : times) all += members.size();
  for (size_t k = random.below(static_cast<uint32_t>(all)); k >= times[time].size(); ++time)
    k -= times[time].size();
  drawn_ = times[time];
  random.shuffle(drawn_);
  drawn_.resize(std::min(drawn_.size(), group_size_));
  return drawn_;
}

const std::vector<int>& ViewSchedule::views(Stage stage, int64_t iteration) {
  if (replacement_) return drawn(stage, iteration);
  const int64_t per_epoch = static_cast<int64_t>(epochs_[static_cast<size_t>(stage)].groups);
  prepare_epoch(stage, (iteration - 1) / per_epoch);
  return groups_[static_cast<size_t>((iteration - 1) % per_epoch)];
}

int ViewSchedule::divisor(Stage stage, int64_t iteration) const {
  Philox random(seed_, stream(kResolutionStream, stage, static_cast<uint64_t>(iteration)));
  return 1 + static_cast<int>(random.below(kLargestDivisor));
}

}  // namespace eg4d
