#pragma once

#include "core/interrupt.h"
#include "core/progress.h"

namespace eg4d::test {

// Interrupts after a number of steps, as Ctrl-C would.
class InterruptAfter : public Progress {
 public:
  explicit InterruptAfter(int64_t step) : step_(step) {}
  void update(int64_t step, std::initializer_list<Figure>) override {
    if (step == step_) request_interrupt();
  }

 private:
  int64_t step_;
};

}  // namespace eg4d::test
