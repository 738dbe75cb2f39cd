#pragma once

#include "backend/backend.h"

namespace eg4d {

// Another backend, for those that put something in front of its operations. What is recorded is recorded by
// the other one, unseen (ObservingBackend sees it).
class ForwardingBackend : public Backend {
 public:
  explicit ForwardingBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

  std::string name() const override { return inner_->name(); }
  void* allocate(size_t bytes) override { return inner_->allocate(bytes); }
  void release(void* memory) override { inner_->release(memory); }
  size_t allocated_bytes() const override { return inner_->allocated_bytes(); }
  MemoryUse memory_use() const override { return inner_->memory_use(); }
  bool computes_in(DType type) const override { return inner_->computes_in(type); }
  bool has_fp8() const override { return inner_->has_fp8(); }
  void copy_to_device(void* device, const void* host, size_t bytes) override {
    inner_->copy_to_device(device, host, bytes);
  }
  void copy_to_host(void* host, const void* device, size_t bytes) override {
    inner_->copy_to_host(host, device, bytes);
  }
  std::shared_ptr<const PackedWeight> pack_linear(const LinearWeight& a) override {
    return inner_->pack_linear(a);
  }
  std::shared_ptr<const PackedWeight> pack_convolution(const ConvolutionWeight& a) override {
    return inner_->pack_convolution(a);
  }
  std::unique_ptr<RasterizeContext> create_rasterize_context() override {
    return inner_->create_rasterize_context();
  }
  std::unique_ptr<FieldContext> create_field_context(const FieldDescription& a) override {
    return inner_->create_field_context(a);
  }
  void run(const Operation& operation) override { inner_->run(operation); }
  std::unique_ptr<Recording> record(const std::function<void()>& work) override {
    return inner_->record(work);
  }
  void replay(const Recording& recording) override { inner_->replay(recording); }

 protected:
  Backend& inner() { return *inner_; }
  const Backend& inner() const { return *inner_; }

 private:
  std::unique_ptr<Backend> inner_;
};

}  // namespace eg4d
