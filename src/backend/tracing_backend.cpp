#include "backend/tracing_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

namespace eg4d {
namespace {

constexpr size_t kMostEvents = 1000000;

double seconds_of_clock() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string kind_of(const Operation& operation) {
  if (const auto* a = std::get_if<Attention>(&operation))
    return a->inner > 1 ? "attention over frames" : "attention over pixels";
  return name_of(operation);
}

}  // namespace

TracingBackend::TracingBackend(std::unique_ptr<Backend> inner)
    : ObservingBackend(std::move(inner)), start_(seconds_of_clock()) {}

double TracingBackend::now() const {
  return seconds_of_clock() - start_;
}

void TracingBackend::perform(const Operation& operation) {
  Event event{kind_of(operation), cost_of(operation), now(), 0};
  ObservingBackend::perform(operation);
  event.seconds = now() - event.begin;
  Total& total = totals[event.kind];
  ++total.calls;
  total.seconds += event.seconds;
  total.flop += event.cost.flop;
  total.bytes += event.cost.bytes;
  if (events_.size() < kMostEvents) events_.push_back(std::move(event));
}

std::string TracingBackend::table() const {
  std::vector<std::pair<std::string, Total>> rows(totals.begin(), totals.end());
  std::sort(rows.begin(), rows.end(),
            [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  Total all;
  for (const auto& [kind, total] : rows) {
    all.calls += total.calls;
    all.seconds += total.seconds;
    all.flop += total.flop;
    all.bytes += total.bytes;
  }
  rows.emplace_back("together", all);
  std::string text = fmt::format("{:<28} {:>8} {:>10} {:>6} {:>9} {:>8} {:>10} {:>8}\n", "operation", "calls",
                                 "seconds", "%", "GB", "GB/s", "TFLOP", "TFLOP/s");
  for (const auto& [kind, total] : rows) {
    const double seconds = std::max(total.seconds, 1e-12);
    text += fmt::format("{:<28} {:>8} {:>10.4f} {:>6.1f} {:>9.3f} {:>8.1f} {:>10.4f} {:>8.3f}\n", kind,
                        total.calls, total.seconds, 100 * total.seconds / std::max(all.seconds, 1e-12),
                        total.bytes * 1e-9, total.bytes * 1e-9 / seconds, total.flop * 1e-12,
                        total.flop * 1e-12 / seconds);
  }
  return text;
}

std::string TracingBackend::events_as_json() const {
  std::string text = R"({"displayTimeUnit":"ms","traceEvents":[)";
  const char* separator = "\n";
  for (const Event& event : events_) {
    // Neither names nor shapes hold anything that JSON would want to be escaped.
    text += fmt::format(R"({}{{"name":"{}","ph":"X","pid":1,"tid":1,"ts":{:.3f},"dur":{:.3f},)"
                        R"("args":{{"shape":"{}","bytes":{:.0f},"flop":{:.0f}}}}})",
                        separator, event.kind, event.begin * 1e6, event.seconds * 1e6, event.cost.shape,
                        event.cost.bytes, event.cost.flop);
    separator = ",\n";
  }
  return text + "\n]}\n";
}

}  // namespace eg4d
