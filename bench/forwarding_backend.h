#pragma once

#include <memory>
#include <string>

#include "backend/backend.h"

namespace eg4d::bench {

// The CPU backend, for benchmarks that put something in front of its operations.
class ForwardingBackend : public Backend {
 public:
  std::string name() const override { return inner_->name(); }
  void* allocate(size_t bytes) override { return inner_->allocate(bytes); }
  void release(void* memory) override { inner_->release(memory); }
  size_t allocated_bytes() const override { return inner_->allocated_bytes(); }
  size_t peak_allocated_bytes() const override { return inner_->peak_allocated_bytes(); }
  Stream create_stream() override { return inner_->create_stream(); }
  void destroy_stream(Stream s) override { inner_->destroy_stream(s); }
  void synchronize(Stream s) override { inner_->synchronize(s); }
  void wait(Stream waiter, Stream signaller) override { inner_->wait(waiter, signaller); }
  void copy_to_device(void* d, const void* h, size_t n, Stream s) override {
    inner_->copy_to_device(d, h, n, s);
  }
  void copy_to_host(void* h, const void* d, size_t n, Stream s) override { inner_->copy_to_host(h, d, n, s); }
  void copy_on_device(void* t, const void* f, size_t n, Stream s) override {
    inner_->copy_on_device(t, f, n, s);
  }
  void fill_bytes(void* d, uint8_t v, size_t n, Stream s) override { inner_->fill_bytes(d, v, n, s); }
  SplatOps& splat() override { return inner_->splat(); }
  NeuralOps& neural() override { return inner_->neural(); }

 protected:
  Backend& inner() { return *inner_; }

 private:
  std::unique_ptr<Backend> inner_ = make_cpu_backend();
};

}  // namespace eg4d::bench
