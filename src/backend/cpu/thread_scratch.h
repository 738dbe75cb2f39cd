#pragma once

#include <cstdint>

namespace eg4d::cpu {

// Working memory of the calling thread: uninitialised, aligned to 64 bytes, kept between calls so that
// kernels do not pay for fresh pages each time. A slot's memory is valid until the same thread asks for the
// same slot again; a kernel that hands its memory to other threads uses the slots they do not ask for.
inline constexpr int kScratchSlots = 8;
void* scratch_bytes(int slot, int64_t bytes);
template <class T = float>
T* scratch(int slot, int64_t count) {
  return static_cast<T*>(scratch_bytes(slot, count * static_cast<int64_t>(sizeof(T))));
}

}  // namespace eg4d::cpu
