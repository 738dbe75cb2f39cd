#pragma once

#include <cstddef>
#include <cstdint>

namespace eg4d::cuda {

// Hands out one operation's scratch memory, aligned to 256 bytes. Without memory it counts what the operation
// will take: whoever takes pieces looks at counting() before it enqueues anything.
class Pieces {
 public:
  explicit Pieces(void* memory = nullptr) : memory_(static_cast<char*>(memory)) {}

  bool counting() const { return memory_ == nullptr; }
  void* take(size_t bytes) {
    void* const piece = memory_ ? memory_ + used_ : nullptr;
    used_ += (bytes + 255) / 256 * 256;
    return piece;
  }
  size_t used() const { return used_; }

 private:
  char* memory_;
  size_t used_ = 0;
};

// What an address is a multiple of, at most 256; as a piece is that is only counted.
inline uint32_t alignment_of(const void* address) {
  const uintptr_t bits = reinterpret_cast<uintptr_t>(address) | 256;
  return static_cast<uint32_t>(bits & (~bits + 1));
}

}  // namespace eg4d::cuda
