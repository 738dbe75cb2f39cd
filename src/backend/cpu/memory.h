#pragma once

#include <cstddef>
#include <map>

namespace eg4d::cpu {

// Device memory of the CPU backend. Plain: aligned heap memory. Guarded: one reserved address range that is
// inaccessible except while a MemoryAccess is alive.
class Memory {
 public:
  explicit Memory(bool guarded);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void* allocate(size_t bytes);
  void release(void* memory);
  size_t allocated() const { return allocated_; }
  size_t peak() const { return peak_; }

 private:
  friend class MemoryAccess;
  void open();
  void close();

  const bool guarded_;
  std::map<void*, size_t> sizes_;      // live blocks
  std::multimap<size_t, void*> free_;  // guarded: released blocks by size
  char* base_ = nullptr;               // guarded: the reserved range
  size_t used_ = 0;                    // guarded: bytes handed out from base_
  int depth_ = 0;
  size_t allocated_ = 0, peak_ = 0;
};

// Every backend operation holds one while it touches device memory.
class MemoryAccess {
 public:
  explicit MemoryAccess(Memory& memory) : memory_(memory) { memory_.open(); }
  ~MemoryAccess() { memory_.close(); }
  MemoryAccess(const MemoryAccess&) = delete;
  MemoryAccess& operator=(const MemoryAccess&) = delete;

 private:
  Memory& memory_;
};

}  // namespace eg4d::cpu
