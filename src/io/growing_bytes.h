#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <optional>
#include <string>

namespace eg4d {

// Bytes that one thread still makes while others already read them.
class GrowingBytes {
 public:
  void append(std::string_view bytes) {
    const std::lock_guard lock(mutex_);
    bytes_ += bytes;
  }
  // Nothing comes any more; `failure` says why when it should have been more.
  void finish(std::string failure = {}) {
    const std::lock_guard lock(mutex_);
    finished_ = true;
    failure_ = std::move(failure);
  }

  struct Part {
    std::string bytes;
    bool finished = false;  // nothing stands behind them
    bool failed = false;
  };
  // At most `most` bytes from `begin` on; none where they are still to come.
  Part read(size_t begin, size_t most) const {
    const std::lock_guard lock(mutex_);
    Part part;
    if (begin < bytes_.size()) part.bytes = bytes_.substr(begin, most);
    part.finished = finished_ && begin + part.bytes.size() == bytes_.size();
    part.failed = finished_ && !failure_.empty();
    return part;
  }
  std::string failure() const {
    const std::lock_guard lock(mutex_);
    return failure_;
  }
  size_t size() const {
    const std::lock_guard lock(mutex_);
    return bytes_.size();
  }

 private:
  mutable std::mutex mutex_;
  std::string bytes_, failure_;
  bool finished_ = false;
};

}  // namespace eg4d
