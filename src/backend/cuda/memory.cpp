#include "backend/cuda/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "backend/cuda/check.h"

namespace eg4d::cuda {
namespace {

constexpr size_t kAlignment = 256;

OutOfMemory out_of_memory(size_t bytes) {
  const std::string amount =
      bytes >> 20 ? fmt::format("{} MiB", bytes >> 20) : fmt::format("{} bytes", bytes);
  return OutOfMemory(fmt::format(
      "out of memory: could not allocate {} on the GPU; use a smaller model or fewer, smaller pictures",
      amount));
}

}  // namespace

Memory::Memory(int device, cudaStream_t stream) : stream_(stream) {
  size_t free = 0;
  check(cudaMemGetInfo(&free, &total_), "preparing its memory");
  cudaMemPoolProps properties = {};
  properties.allocType = cudaMemAllocationTypePinned;
  properties.location.type = cudaMemLocationTypeDevice;
  properties.location.id = device;
  check(cudaMemPoolCreate(&pool_, &properties), "preparing its memory");
  uint64_t keep_all = UINT64_MAX;  // what is released is for the next allocation, not for the system
  check(cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &keep_all), "preparing its memory");
}

Memory::~Memory() {
  for (const auto& [memory, bytes] : sizes_) cudaFreeAsync(memory, stream_);
  cudaStreamSynchronize(stream_);
  cudaMemPoolDestroy(pool_);
}

cudaError_t Memory::try_to_allocate(void** memory, size_t bytes) const {
  const cudaError_t status = cudaMallocFromPoolAsync(memory, bytes, pool_, stream_);
  if (status == cudaErrorMemoryAllocation) cudaGetLastError();  // or the next launch would tell it again
  return status;
}

void* Memory::allocate(size_t bytes) {
  const size_t size = (std::max<size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
  if (size > total_) throw out_of_memory(bytes);  // the pool has another error for sizes out of all reason
  void* memory = nullptr;
  cudaError_t status = try_to_allocate(&memory, size);
  if (status == cudaErrorMemoryAllocation) {  // pieces that are too small for it may be in its way
    check(cudaStreamSynchronize(stream_), "making room in its memory");
    check(cudaMemPoolTrimTo(pool_, 0), "making room in its memory");
    status = try_to_allocate(&memory, size);
  }
  if (status == cudaErrorMemoryAllocation) throw out_of_memory(bytes);
  check(status, "allocating memory");
  sizes_[memory] = size;
  allocated_ += size;
  return memory;
}

void Memory::release(void* memory) noexcept {
  const auto found = sizes_.find(memory);
  if (found == sizes_.end()) return;
  allocated_ -= found->second;
  sizes_.erase(found);
  cudaFreeAsync(memory, stream_);
}

void Block::reserve(size_t bytes) {
  if (bytes <= bytes_) return;
  memory_.release(std::exchange(data_, nullptr));
  bytes_ = 0;
  memory_.count_move();
  const size_t wanted = bytes + bytes / 4;
  data_ = memory_.allocate(wanted);
  bytes_ = wanted;
}

}  // namespace eg4d::cuda
