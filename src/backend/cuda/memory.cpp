#include "backend/cuda/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "backend/cuda/check.h"
#include "core/byte_size.h"

namespace eg4d::cuda {
namespace {

constexpr size_t kAlignment = 256;
// What kernels and libraries take of the device when they are first used, beyond the context.
constexpr size_t kToCome = size_t{256} << 20;
constexpr size_t kMostCappedSpare = size_t{32} << 20;

MemoryBudget make_budget(size_t cap, size_t context) {
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "preparing its memory");
  return {cap, total, free, context, kToCome};
}

}  // namespace

Memory::Memory(int device, cudaStream_t stream, size_t cap, size_t context)
    : stream_(stream), device_(stream), budget_(make_budget(cap, context)) {
  size_t free = 0;
  check(cudaMemGetInfo(&free, &total_), "preparing its memory");
  if (capped()) {
    segments_.emplace(device_);
    return;
  }
  cudaMemPoolProps properties = {};
  properties.allocType = cudaMemAllocationTypePinned;
  properties.location.type = cudaMemLocationTypeDevice;
  properties.location.id = device;
  check(cudaMemPoolCreate(&pool_, &properties), "preparing its memory");
  uint64_t keep_all = UINT64_MAX;  // what is released is for the next allocation, not for the system
  check(cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &keep_all), "preparing its memory");
}

Memory::~Memory() {
  for (const auto& [memory, bytes] : sizes_) free(memory, bytes);
  cudaStreamSynchronize(stream_);
  segments_.reset();
  if (pool_) cudaMemPoolDestroy(pool_);
}

void* Memory::Device::take(size_t bytes) {
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // or the next launch would tell it again
    return nullptr;
  }
  check(status, "allocating memory");
  return memory;
}

void Memory::Device::give_back(void* segment) noexcept {
  cudaStreamSynchronize(stream_);
  cudaFree(segment);
}

size_t Memory::reserved() const {
  return capped() ? segments_->reserved() : attribute(cudaMemPoolAttrReservedMemCurrent);
}
size_t Memory::in_use() const {
  return capped() ? segments_->reserved() - segments_->unused() : allocated_;
}

size_t Memory::attribute(cudaMemPoolAttr which) const {
  uint64_t value = 0;
  check(cudaMemPoolGetAttribute(pool_, which, &value), "asking for its memory");
  return value;
}

size_t Memory::free_on_device() const {
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "asking for its memory");
  return free;
}

void Memory::trim() {
  check(cudaStreamSynchronize(stream_), "making room in its memory");
  check(cudaMemPoolTrimTo(pool_, 0), "making room in its memory");
}

void* Memory::allocate_from_pool(size_t bytes) const {
  void* memory = nullptr;
  const cudaError_t status = cudaMallocFromPoolAsync(&memory, bytes, pool_, stream_);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // or the next launch would tell it again
    return nullptr;
  }
  check(status, "allocating memory");
  return memory;
}

void* Memory::try_to_allocate(size_t bytes) {
  if (capped())
    return segments_->allocate(bytes, [&] {
      budget_.observe(free_on_device(), segments_->reserved());
      return budget_.for_allocations();
    });
  void* const memory = allocate_from_pool(bytes);
  if (memory) return memory;
  trim();  // pieces that are too small for it may be in its way
  return allocate_from_pool(bytes);
}

void Memory::free(void* memory, size_t bytes) noexcept {
  if (capped())
    segments_->release(memory, bytes);
  else
    cudaFreeAsync(memory, stream_);
}

void* Memory::allocate(size_t bytes) {
  const size_t size = (std::max<size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
  if (size > total_) throw out_of_memory(bytes);  // the pool has another error for sizes out of all reason
  void* memory = try_to_allocate(size);
  while (!memory && reclaimer_ && reclaimer_->reclaim(shortage(size)) > 0) memory = try_to_allocate(size);
  if (!memory) throw out_of_memory(bytes);
  sizes_[memory] = size;
  allocated_ += size;
  return memory;
}

// Where enough is there, but not in one piece, nothing says how much would help: in several goes.
size_t Memory::shortage(size_t bytes) const {
  const size_t room = std::min(budget_.for_allocations(), free_on_device() + reserved());
  const size_t needed = in_use() + MemorySegments::segment_bytes(bytes);
  return needed > room ? needed - room : std::min(bytes / 4, reclaimer_->reclaimable());
}

OutOfMemory Memory::out_of_memory(size_t bytes) const {
  const std::string wanted =
      fmt::format("out of memory: could not allocate {} on the GPU",
                  bytes >> 20 ? fmt::format("{} MiB", bytes >> 20) : fmt::format("{} bytes", bytes));
  if (capped() && bytes < total_) {
    const size_t movable = reclaimer_ ? std::min(reclaimer_->reclaimable(), in_use()) : 0;
    const size_t least =
        budget_.cap() - budget_.for_allocations() + in_use() - movable + MemorySegments::segment_bytes(bytes);
    return OutOfMemory(
        fmt::format("{}: --memory allows {}, and this takes at least {}; give --memory more, or use fewer, "
                    "smaller pictures",
                    wanted, byte_size_text(budget_.cap()), byte_size_text(least)));
  }
  return OutOfMemory(fmt::format(
      "{}, where this process holds {} of {}; use a smaller model or fewer, smaller pictures, and end what "
      "else takes the GPU's memory (--memory SIZE keeps to what is left)",
      wanted, byte_size_text(budget_.outside() + allocated_), byte_size_text(total_)));
}

MemoryUse Memory::use() const {
  const size_t free = free_on_device(), held = reserved();
  budget_.observe(free, held);
  return {
      .cap = budget_.cap(),
      .now = budget_.outside() + held,
      .peak = budget_.outside() + (capped() ? segments_->peak() : attribute(cudaMemPoolAttrReservedMemHigh)),
      .outside = budget_.outside(),
      .available = budget_.available(in_use(), free, held)};
}

void Memory::release(void* memory) noexcept {
  const auto found = sizes_.find(memory);
  if (found == sizes_.end()) return;
  allocated_ -= found->second;
  free(memory, found->second);
  sizes_.erase(found);
}

void Block::reserve(size_t bytes) {
  if (bytes <= bytes_) return;
  memory_.release(std::exchange(data_, nullptr));
  bytes_ = 0;
  memory_.count_move();
  const size_t spare = memory_.capped() ? std::min(bytes / 4, kMostCappedSpare) : bytes / 4;
  const size_t wanted = bytes + spare;
  data_ = memory_.allocate(wanted);
  bytes_ = wanted;
}

}  // namespace eg4d::cuda
