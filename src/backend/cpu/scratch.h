#pragma once

#include "backend/cpu/memory.h"

namespace eg4d::cpu {

// Working memory of one kernel at a time, kept between calls and counted as device memory.
class Scratch {
 public:
  explicit Scratch(Memory& memory) : memory_(memory) {}
  ~Scratch() { memory_.release(block_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // At least `bytes`, aligned to 64; what earlier calls returned is no longer valid.
  void* get(size_t bytes) {
    if (bytes > size_) {
      memory_.release(block_);
      block_ = nullptr;
      size_ = 0;
      block_ = memory_.allocate(bytes);
      size_ = bytes;
    }
    return block_;
  }

 private:
  Memory& memory_;
  void* block_ = nullptr;
  size_t size_ = 0;
};

}  // namespace eg4d::cpu
