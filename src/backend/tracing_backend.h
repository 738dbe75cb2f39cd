#pragma once

#include <map>
#include <string>
#include <vector>

#include "backend/observing_backend.h"
#include "backend/operation_cost.h"

namespace eg4d {

// Another backend that remembers every operation: its kind, shape, FLOP, bytes and time. Each is waited for,
// so that the whole takes a little longer than without.
class TracingBackend : public ObservingBackend {
 public:
  explicit TracingBackend(std::unique_ptr<Backend> inner);

  // Sums by kind; attention over pixels and over frames are two kinds.
  struct Total {
    int64_t calls = 0;
    double seconds = 0, flop = 0, bytes = 0;
  };
  std::map<std::string, Total> totals;

  std::string table() const;
  // JSON in the trace-event format, which chrome://tracing and ui.perfetto.dev open; the first million
  // operations.
  std::string events_as_json() const;

 private:
  struct Event {
    std::string kind;
    OperationCost cost;
    double begin = 0, seconds = 0;  // since this was made
  };
  double now() const;
  void perform(const Operation& operation) override;

  const double start_;
  std::vector<Event> events_;
};

}  // namespace eg4d
