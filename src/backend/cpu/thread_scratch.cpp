#include "backend/cpu/thread_scratch.h"

#include <cstdlib>
#include <memory>

#include "core/error.h"

namespace eg4d::cpu {
namespace {

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
struct Slot {
  std::unique_ptr<void, Free> memory;
  int64_t bytes = 0;
};

}  // namespace

void* scratch_bytes(int slot, int64_t bytes) {
  thread_local Slot slots[kScratchSlots];
  Slot& s = slots[slot];
  if (s.bytes < bytes || !s.memory) {
    s.memory.reset();
    s.bytes = (bytes + bytes / 4 + 64) / 64 * 64;
    s.memory.reset(std::aligned_alloc(64, static_cast<size_t>(s.bytes)));
    if (!s.memory) {
      s.bytes = 0;
      throw Error("out of memory: no room for working memory; use a smaller model or fewer Gaussians");
    }
  }
  return s.memory.get();
}

}  // namespace eg4d::cpu
