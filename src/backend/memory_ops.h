#pragma once

// Operations on memory, whatever is in it; see backend.h. All pointers are device memory.

#include <cstddef>
#include <cstdint>

namespace eg4d {

// May overlap.
struct CopyBytes {
  void* to = nullptr;
  const void* from = nullptr;
  size_t bytes = 0;
};

struct FillBytes {
  void* to = nullptr;
  uint8_t value = 0;
  size_t bytes = 0;
};

}  // namespace eg4d
