#pragma once

#include <memory>

#include "backend/backend.h"
#include "core/error.h"

namespace eg4d::test {

// Another backend's work with a limit on memory, as a small machine has.
class LimitedBackend : public Backend {
 public:
  explicit LimitedBackend(size_t limit) : limit_(limit) {}

  std::string name() const override { return "limited " + inner_->name(); }
  void* allocate(size_t bytes) override {
    if (inner_->allocated_bytes() + bytes > limit_) throw OutOfMemory("out of memory");
    return inner_->allocate(bytes);
  }
  void release(void* memory) override { inner_->release(memory); }
  size_t allocated_bytes() const override { return inner_->allocated_bytes(); }
  size_t peak_allocated_bytes() const override { return inner_->peak_allocated_bytes(); }
  Stream create_stream() override { return inner_->create_stream(); }
  void destroy_stream(Stream stream) override { inner_->destroy_stream(stream); }
  void synchronize(Stream stream) override { inner_->synchronize(stream); }
  void wait(Stream waiter, Stream signaller) override { inner_->wait(waiter, signaller); }
  void copy_to_device(void* device, const void* host, size_t bytes, Stream stream) override {
    inner_->copy_to_device(device, host, bytes, stream);
  }
  void copy_to_host(void* host, const void* device, size_t bytes, Stream stream) override {
    inner_->copy_to_host(host, device, bytes, stream);
  }
  void copy_on_device(void* to, const void* from, size_t bytes, Stream stream) override {
    inner_->copy_on_device(to, from, bytes, stream);
  }
  void fill_bytes(void* device, uint8_t value, size_t bytes, Stream stream) override {
    inner_->fill_bytes(device, value, bytes, stream);
  }
  SplatOps& splat() override { return inner_->splat(); }
  NeuralOps& neural() override { return inner_->neural(); }

 private:
  std::unique_ptr<Backend> inner_ = make_cpu_backend();
  const size_t limit_;
};

}  // namespace eg4d::test
