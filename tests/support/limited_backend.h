#pragma once

#include "backend/forwarding_backend.h"
#include "core/error.h"
#include "support/device_fixture.h"

namespace eg4d::test {

// The test's device with a limit on memory, as a small machine has.
class LimitedBackend final : public ForwardingBackend {
 public:
  explicit LimitedBackend(size_t limit) : ForwardingBackend(make_test_backend()), limit_(limit) {}

  // From now on.
  void limit_to(size_t limit) { limit_ = limit; }

  std::string name() const override { return "limited " + ForwardingBackend::name(); }
  void* allocate(size_t bytes) override {
    if (allocated_bytes() + bytes > limit_) throw OutOfMemory("out of memory");
    return ForwardingBackend::allocate(bytes);
  }

 private:
  size_t limit_;
};

}  // namespace eg4d::test
