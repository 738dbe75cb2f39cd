#pragma once

#include "backend/forwarding_backend.h"
#include "core/error.h"

namespace eg4d::test {

// The CPU with a limit on memory, as a small machine has.
class LimitedBackend final : public ForwardingBackend {
 public:
  explicit LimitedBackend(size_t limit) : ForwardingBackend(make_cpu_backend()), limit_(limit) {}

  std::string name() const override { return "limited " + ForwardingBackend::name(); }
  void* allocate(size_t bytes) override {
    if (allocated_bytes() + bytes > limit_) throw OutOfMemory("out of memory");
    return ForwardingBackend::allocate(bytes);
  }

 private:
  const size_t limit_;
};

}  // namespace eg4d::test
