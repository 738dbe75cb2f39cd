#pragma once

// The memory of one GPU, in the order of one stream: what is released stays valid for work already enqueued,
// and nothing waits.

#include <cuda_runtime_api.h>

#include <cstdint>
#include <optional>
#include <unordered_map>

#include "backend/backend.h"
#include "backend/memory_plan.h"
#include "backend/memory_segments.h"

namespace eg4d::cuda {

// Who can do with less memory when there is none left.
class Reclaimer {
 public:
  virtual ~Reclaimer() = default;
  // Releases about so many bytes, or nothing where it cannot; returns how many.
  virtual size_t reclaim(size_t bytes) = 0;
  virtual size_t reclaimable() const = 0;  // at most
};

class Memory {
 public:
  // cap: on what the process takes of the GPU, 0 for none; context: what that is before anything is
  // allocated.
  Memory(int device, cudaStream_t stream, size_t cap = 0, size_t context = 0);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void* allocate(size_t bytes);  // aligned to 256 bytes; throws OutOfMemory
  void release(void* memory) noexcept;
  size_t allocated() const { return allocated_; }  // working memory (Block) included
  // All but what is streamed, of which Memory knows nothing. Asks the device.
  MemoryUse use() const;

  // Is asked before there is no memory left; must outlive what is allocated from then on.
  void set_reclaimer(Reclaimer* reclaimer) { reclaimer_ = reclaimer; }
  size_t cap() const { return budget_.cap(); }  // 0: none
  bool capped() const { return cap() != 0; }

  // How often working memory has moved: addresses that were noted before may be old.
  int64_t moves() const { return moves_; }
  void count_move() { ++moves_; }

 private:
  // Segments under a cap: they are of known sizes. They are given back when nothing reads from them any more.
  class Device final : public MemorySegments::Source {
   public:
    explicit Device(cudaStream_t stream) : stream_(stream) {}
    void* take(size_t bytes) override;
    void give_back(void* segment) noexcept override;

   private:
    cudaStream_t stream_;
  };
  void* try_to_allocate(size_t bytes);  // null when there is no room
  void* allocate_from_pool(size_t bytes) const;
  void free(void* memory, size_t bytes) noexcept;
  void trim();
  size_t shortage(size_t bytes) const;
  size_t attribute(cudaMemPoolAttr which) const;
  size_t reserved() const;  // of the device
  size_t in_use() const;    // of that: what cannot be given back to it
  size_t free_on_device() const;
  OutOfMemory out_of_memory(size_t bytes) const;

  cudaStream_t stream_;
  cudaMemPool_t pool_ = nullptr;  // without a cap
  Device device_;
  std::optional<MemorySegments> segments_;  // with one
  std::unordered_map<void*, size_t> sizes_;
  size_t total_ = 0;  // the GPU's
  size_t allocated_ = 0;
  int64_t moves_ = 0;
  mutable MemoryBudget budget_;
  Reclaimer* reclaimer_ = nullptr;
};

// Working memory that grows, and is kept from one use to the next.
class Block {
 public:
  explicit Block(Memory& memory) : memory_(memory) {}
  ~Block() { memory_.release(data_); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  // At least so many bytes. When it grows its contents are lost; with a quarter to spare, or what a cap
  // leaves to that, since the number of Gaussians grows.
  void reserve(size_t bytes);
  void* data() const { return data_; }

 private:
  Memory& memory_;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace eg4d::cuda
