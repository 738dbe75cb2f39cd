#pragma once

// A CPU backend that measures every operation of Stage II, and, for one iteration, runs the plain scalar
// version of each on the same inputs.

#include <map>
#include <string>
#include <utility>

#include "backend/forwarding_backend.h"

namespace eg4d::bench {

// Seconds by operation; several calls in one iteration add up.
using OperationSeconds = std::map<std::string, double>;

class TimedBackend final : public ForwardingBackend {
 public:
  TimedBackend() : ForwardingBackend(make_cpu_backend()) {}

  OperationSeconds take() { return std::exchange(seconds_, {}); }
  OperationSeconds take_plain() { return std::exchange(plain_seconds_, {}); }
  void run_plain(bool on) { plain_ = on; }

  void run(const Operation& operation) override;

 private:
  OperationSeconds seconds_, plain_seconds_;
  bool plain_ = false;
};

}  // namespace eg4d::bench
