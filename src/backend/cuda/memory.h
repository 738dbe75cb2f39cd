#pragma once

// The memory of one GPU, in the order of one stream: what is released stays valid for work already enqueued,
// and nothing waits.

#include <cuda_runtime_api.h>

#include <cstdint>
#include <unordered_map>

namespace eg4d::cuda {

class Memory {
 public:
  Memory(int device, cudaStream_t stream);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void* allocate(size_t bytes);  // aligned to 256 bytes; throws OutOfMemory
  void release(void* memory) noexcept;
  size_t allocated() const { return allocated_; }  // working memory (Block) included

  // How often working memory has moved: addresses that were noted before may be old.
  int64_t moves() const { return moves_; }
  void count_move() { ++moves_; }

 private:
  cudaError_t try_to_allocate(void** memory, size_t bytes) const;

  cudaStream_t stream_;
  cudaMemPool_t pool_ = nullptr;
  std::unordered_map<void*, size_t> sizes_;
  size_t total_ = 0;  // the GPU's
  size_t allocated_ = 0;
  int64_t moves_ = 0;
};

// Working memory that grows, and is kept from one use to the next.
class Block {
 public:
  explicit Block(Memory& memory) : memory_(memory) {}
  ~Block() { memory_.release(data_); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  // At least so many bytes. When it grows its contents are lost; with a quarter to spare, since the number of
  // Gaussians grows.
  void reserve(size_t bytes);
  void* data() const { return data_; }

 private:
  Memory& memory_;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace eg4d::cuda
