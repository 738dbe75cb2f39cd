#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>

#include "backend/observing_backend.h"

namespace eg4d::test {

// Another backend that counts what crosses the seam: for tests of prepared work.
class CountingBackend final : public ObservingBackend {
 public:
  enum class Recordings {
    replay,  // the operations that were noted, as a backend that records does
    rerun,   // what was recorded is called again each time, as if nothing were ever recorded
  };
  explicit CountingBackend(std::unique_ptr<Backend> inner = make_cpu_backend({.guard_memory = true}),
                           Recordings recordings = Recordings::replay)
      : ObservingBackend(std::move(inner)), recordings_(recordings) {}

  struct Counts {
    int64_t allocations = 0, releases = 0, copies_to_device = 0, copies_to_host = 0;
    int64_t bytes_to_host = 0;
    std::map<std::string, int64_t> calls;  // operations done, by name
    int64_t operations = 0;  // done, those of replays included
    int64_t recorded = 0, replayed = 0;
  };
  const Counts& counts() const { return counts_; }
  // Since the last call.
  Counts take() { return std::exchange(counts_, {}); }

  void* allocate(size_t bytes) override {
    ++counts_.allocations;
    return ObservingBackend::allocate(bytes);
  }
  void release(void* memory) override {
    ++counts_.releases;
    ObservingBackend::release(memory);
  }
  void copy_to_device(void* device, const void* host, size_t bytes) override {
    ++counts_.copies_to_device;
    ObservingBackend::copy_to_device(device, host, bytes);
  }
  void copy_to_host(void* host, const void* device, size_t bytes) override {
    ++counts_.copies_to_host;
    counts_.bytes_to_host += static_cast<int64_t>(bytes);
    ObservingBackend::copy_to_host(host, device, bytes);
  }
  std::unique_ptr<Recording> record(const std::function<void()>& work) override {
    ++counts_.recorded;
    auto noted = ObservingBackend::record(work);  // refuses what no recording may hold
    if (recordings_ == Recordings::rerun) return std::make_unique<Work>(work);
    return noted;
  }
  void replay(const Recording& recording) override {
    ++counts_.replayed;
    if (recordings_ == Recordings::rerun)
      static_cast<const Work&>(recording).work();
    else
      ObservingBackend::replay(recording);
  }

 private:
  struct Work final : Recording {
    explicit Work(std::function<void()> w) : work(std::move(w)) {}
    std::function<void()> work;
  };
  void perform(const Operation& operation) override {
    ++counts_.operations;
    ++counts_.calls[name_of(operation)];
    ObservingBackend::perform(operation);
  }

  const Recordings recordings_;
  Counts counts_;
};

// Fails the test if anything is allocated or copied to or from the host while it lives.
class NothingCrosses {
 public:
  explicit NothingCrosses(const CountingBackend& backend) : backend_(backend), before_(crossed()) {}
  ~NothingCrosses() { EXPECT_EQ(crossed(), before_); }
  NothingCrosses(const NothingCrosses&) = delete;
  NothingCrosses& operator=(const NothingCrosses&) = delete;

 private:
  int64_t crossed() const {
    const CountingBackend::Counts& counts = backend_.counts();
    return counts.allocations + counts.copies_to_device + counts.copies_to_host;
  }
  const CountingBackend& backend_;
  const int64_t before_;
};

}  // namespace eg4d::test
