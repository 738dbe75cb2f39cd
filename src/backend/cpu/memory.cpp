#include "backend/cpu/memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>

#include "core/error.h"

namespace eg4d::cpu {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kPage = 4096;
constexpr size_t kHugePage = size_t{1} << 21;
constexpr size_t kReserved = size_t{1} << 38;  // address space only

size_t round_up(size_t bytes, size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

OutOfMemory out_of_memory(size_t bytes) {
  const std::string amount =
      bytes >> 20 ? fmt::format("{} MiB", bytes >> 20) : fmt::format("{} bytes", bytes);
  return OutOfMemory(fmt::format(
      "out of memory: could not allocate {}; use a smaller model or fewer, smaller pictures", amount));
}

// Large arrays ask for huge pages: the hexplane is read at random, and with 4 KiB pages half of that time
// goes into address translation.
void* allocate_block(size_t size) {
  if (size < 4 * kHugePage) return std::aligned_alloc(kAlignment, size);
  void* block = std::aligned_alloc(kHugePage, round_up(size, kHugePage));
  if (block) madvise(block, round_up(size, kHugePage), MADV_HUGEPAGE);
  return block;
}

}  // namespace

Memory::Memory(bool guarded) : guarded_(guarded) {
  if (!guarded_) return;
  void* range = mmap(nullptr, kReserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (range == MAP_FAILED) throw Error("could not reserve address space for the guarded CPU backend");
  base_ = static_cast<char*>(range);
}

Memory::~Memory() {
  if (guarded_) {
    munmap(base_, kReserved);
  } else {
    for (auto& [block, size] : sizes_) std::free(block);
  }
}

void* Memory::allocate(size_t bytes) {
  void* block = nullptr;
  size_t size = round_up(std::max<size_t>(bytes, 1), guarded_ ? kPage : kAlignment);
  if (guarded_) {
    if (auto found = free_.lower_bound(size); found != free_.end() && found->first <= 2 * size) {
      size = found->first;
      block = found->second;
      free_.erase(found);
    } else {
      if (size > kReserved - used_) throw out_of_memory(bytes);
      block = base_ + used_;
      used_ += size;
      if (depth_ > 0) mprotect(block, size, PROT_READ | PROT_WRITE);
    }
  } else {
    block = allocate_block(size);
    if (!block) throw out_of_memory(bytes);
  }
  sizes_[block] = size;
  allocated_ += size;
  peak_ = std::max(peak_, allocated_);
  return block;
}

void Memory::release(void* memory) {
  if (!memory) return;
  const auto found = sizes_.find(memory);
  if (found == sizes_.end()) return;
  const size_t size = found->second;
  allocated_ -= size;
  sizes_.erase(found);
  if (guarded_) {
    free_.emplace(size, memory);
  } else {
    std::free(memory);
  }
}

void Memory::open() {
  if (guarded_ && depth_++ == 0 && used_ > 0) mprotect(base_, used_, PROT_READ | PROT_WRITE);
}

void Memory::close() {
  if (guarded_ && --depth_ == 0 && used_ > 0) mprotect(base_, used_, PROT_NONE);
}

}  // namespace eg4d::cpu
