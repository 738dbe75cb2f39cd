#pragma once

// A CPU backend that measures every operation of Stage II, and, for one iteration, runs the plain scalar
// version of each on the same inputs.

#include <map>
#include <string>
#include <utility>

#include "backend/observing_backend.h"

namespace eg4d::bench {

// Seconds by operation; several calls in one iteration add up.
using OperationSeconds = std::map<std::string, double>;

class TimedBackend final : public ObservingBackend {
 public:
  TimedBackend() : ObservingBackend(make_cpu_backend()) {}

  OperationSeconds take() { return std::exchange(seconds_, {}); }
  OperationSeconds take_plain() { return std::exchange(plain_seconds_, {}); }
  void run_plain(bool on) { plain_ = on; }

 private:
  void perform(const Operation& operation) override;

  OperationSeconds seconds_, plain_seconds_;
  bool plain_ = false;
};

}  // namespace eg4d::bench
