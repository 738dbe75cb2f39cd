#pragma once

#include <map>
#include <string>

#include "backend/forwarding_backend.h"

namespace eg4d::test {

// The CPU, counting what crosses the seam.
class CountingBackend final : public ForwardingBackend {
 public:
  CountingBackend() : ForwardingBackend(make_cpu_backend({.guard_memory = true})) {}

  void* allocate(size_t bytes) override {
    ++allocations;
    return ForwardingBackend::allocate(bytes);
  }
  void copy_to_device(void* device, const void* host, size_t bytes) override {
    ++writes;
    ForwardingBackend::copy_to_device(device, host, bytes);
  }
  void copy_to_host(void* host, const void* device, size_t bytes) override {
    ++reads;
    bytes_read += static_cast<int64_t>(bytes);
    ForwardingBackend::copy_to_host(host, device, bytes);
  }
  void run(const Operation& operation) override {
    ++operations[name_of(operation)];
    ForwardingBackend::run(operation);
  }
  void reset_counts() {
    allocations = writes = reads = bytes_read = 0;
    operations.clear();
  }

  int64_t allocations = 0, writes = 0, reads = 0, bytes_read = 0;
  std::map<std::string, int64_t> operations;  // calls by name
};

}  // namespace eg4d::test
