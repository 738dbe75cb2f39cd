#pragma once

#include "backend/forwarding_backend.h"

namespace eg4d::test {

// Counts what must not happen inside prepared work, while `counting` is set: allocations, and copies to and
// from the host. Without `records` it notes nothing: the work is called again at every replay.
class CountingBackend final : public ForwardingBackend {
 public:
  explicit CountingBackend(bool records = true, std::unique_ptr<Backend> inner = make_cpu_backend())
      : ForwardingBackend(std::move(inner)), records_(records) {}

  bool counting = false;
  int allocations = 0, host_copies = 0;
  int recordings = 0, replays = 0;  // counted always

  void* allocate(size_t bytes) override {
    if (counting) ++allocations;
    return ForwardingBackend::allocate(bytes);
  }
  void copy_to_device(void* device, const void* host, size_t bytes) override {
    if (counting) ++host_copies;
    ForwardingBackend::copy_to_device(device, host, bytes);
  }
  void copy_to_host(void* host, const void* device, size_t bytes) override {
    if (counting) ++host_copies;
    ForwardingBackend::copy_to_host(host, device, bytes);
  }
  std::unique_ptr<Recording> record(const std::function<void()>& work) override {
    ++recordings;
    if (records_) return ForwardingBackend::record(work);
    auto called = std::make_unique<Called>();
    called->work = work;
    return called;
  }
  void replay(const Recording& recording) override {
    ++replays;
    if (records_) return ForwardingBackend::replay(recording);
    static_cast<const Called&>(recording).work();
  }

 private:
  struct Called final : Recording {
    std::function<void()> work;
  };
  const bool records_;
};

// Counts while it lives.
class Counted {
 public:
  explicit Counted(CountingBackend& backend) : backend_(backend) { backend.counting = true; }
  ~Counted() { backend_.counting = false; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  CountingBackend& backend_;
};

}  // namespace eg4d::test
