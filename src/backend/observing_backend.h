#pragma once

#include <vector>

#include "backend/forwarding_backend.h"

namespace eg4d {

// Another backend, for those that look at every operation, at those of recordings too: they are noted here
// and done one by one when they are replayed.
class ObservingBackend : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;

  void* allocate(size_t bytes) override;
  void copy_to_device(void* device, const void* host, size_t bytes) override;
  void copy_to_host(void* host, const void* device, size_t bytes) override;
  void run(const Operation& operation) final;
  std::unique_ptr<Recording> record(const std::function<void()>& work) override;
  void replay(const Recording& recording) override;

 protected:
  virtual void perform(const Operation& operation) { ForwardingBackend::run(operation); }

 private:
  void refuse_while_recording() const;
  std::vector<Operation>* recording_ = nullptr;  // of record(), while it runs
};

}  // namespace eg4d
