#include "backend/observing_backend.h"

#include <stdexcept>

namespace eg4d {
namespace {

class NotedOperations final : public Recording {
 public:
  std::vector<Operation> operations;
};

}  // namespace

void ObservingBackend::refuse_while_recording() const {
  if (recording_) throw std::logic_error("a recording holds operations alone");
}

void* ObservingBackend::allocate(size_t bytes) {
  refuse_while_recording();
  return ForwardingBackend::allocate(bytes);
}

void ObservingBackend::copy_to_device(void* device, const void* host, size_t bytes) {
  refuse_while_recording();
  ForwardingBackend::copy_to_device(device, host, bytes);
}

void ObservingBackend::copy_to_host(void* host, const void* device, size_t bytes) {
  refuse_while_recording();
  ForwardingBackend::copy_to_host(host, device, bytes);
}

void ObservingBackend::run(const Operation& operation) {
  if (recording_)
    recording_->push_back(operation);
  else
    perform(operation);
}

std::unique_ptr<Recording> ObservingBackend::record(const std::function<void()>& work) {
  refuse_while_recording();
  auto noted = std::make_unique<NotedOperations>();
  recording_ = &noted->operations;
  try {
    work();
  } catch (...) {
    recording_ = nullptr;
    throw;
  }
  recording_ = nullptr;
  return noted;
}

void ObservingBackend::replay(const Recording& recording) {
  for (const Operation& operation : static_cast<const NotedOperations&>(recording).operations) run(operation);
}

}  // namespace eg4d
