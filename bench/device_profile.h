#pragma once

// Networks on a device: milliseconds of what is prepared, and of every operation in it, one at a time, by
// shape.

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "backend/observing_backend.h"
#include "backend/operation_cost.h"
#include "measure.h"

namespace eg4d::bench {

// Times operations one by one when asked to; otherwise what is recorded is the device's own recording. A
// recording is replayed as it was made: with `timing` or without.
class Profile final : public ObservingBackend {
 public:
  using ObservingBackend::ObservingBackend;
  struct Total {
    int64_t calls = 0;
    double seconds = 0, flop = 0, bytes = 0;
    void add(const Total& other) {
      calls += other.calls;
      seconds += other.seconds;
      flop += other.flop;
      bytes += other.bytes;
    }
  };
  bool timing = false;
  std::map<std::pair<std::string, std::string>, Total> totals;  // by kind and shape

  std::unique_ptr<Recording> record(const std::function<void()>& work) override {
    return timing ? ObservingBackend::record(work) : inner().record(work);
  }
  void replay(const Recording& recording) override {
    timing ? ObservingBackend::replay(recording) : inner().replay(recording);
  }
  void wait() { inner().copy_to_host(nullptr, nullptr, 0); }

 private:
  void perform(const Operation& operation) override {
    ObservingBackend::perform(operation);
    if (!timing) return;
    // What it finds out the first time is no part of it; and the last of several is not waited for alone.
    constexpr int kRepeats = 4;
    wait();
    const double start = wall_seconds();
    for (int i = 0; i < kRepeats; ++i) ObservingBackend::perform(operation);
    wait();
    const double seconds = (wall_seconds() - start) / kRepeats;
    const OperationCost cost = cost_of(operation);
    std::string kind = name_of(operation);
    if (const auto* a = std::get_if<Attention>(&operation))
      kind += a->inner > 1 ? " over frames" : " over pixels";
    totals[{kind, cost.shape}].add({1, seconds, cost.flop, cost.bytes});
  }
};

inline void print(const std::string& title, const std::vector<std::pair<std::string, Profile::Total>>& rows) {
  const Table table({title, "calls", "ms", "TFLOP/s", "TB/s", "us each"});
  for (const auto& [name, total] : rows)
    table.row({name, fmt::format("{}", total.calls), fmt::format("{:.2f}", total.seconds * 1e3),
               fmt::format("{:.0f}", total.flop / total.seconds * 1e-12),
               fmt::format("{:.2f}", total.bytes / total.seconds * 1e-12),
               fmt::format("{:.0f}", total.seconds * 1e6 / static_cast<double>(total.calls))});
  fmt::print("\n");
}

inline void print_totals(const Profile& profile) {
  std::map<std::string, Profile::Total> kinds;
  Profile::Total all;
  std::vector<std::pair<std::string, Profile::Total>> rows;
  for (const auto& [key, total] : profile.totals) {
    kinds[key.first].add(total);
    all.add(total);
    rows.emplace_back(key.first + " " + key.second, total);
  }
  const auto longest_first = [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; };
  std::ranges::sort(rows, longest_first);
  std::vector<std::pair<std::string, Profile::Total>> sums(kinds.begin(), kinds.end());
  std::ranges::sort(sums, longest_first);
  sums.emplace_back("all, one by one", all);
  print("kind", sums);
  rows.resize(std::min<size_t>(rows.size(), 48));
  print("operation", rows);
}

inline DType type_of(const std::string& name) {
  return name == "f16" ? DType::f16 : name == "bf16" ? DType::bf16 : DType::f32;
}

// Milliseconds of a call, median of several.
inline double milliseconds_of(Profile& backend, int repeats, const std::function<void()>& run) {
  for (int i = 0; i < 3; ++i) run();  // records, then makes a graph of it
  return 1e3 * median_seconds(
                   repeats,
                   [&] {
                     run();
                     backend.wait();
                   },
                   wall_seconds);
}

}  // namespace eg4d::bench
