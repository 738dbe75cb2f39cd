#pragma once

// Where weights lie: on the GPU as long as there is room, then in pinned memory of the host, from which each
// comes through a ring of device memory when an operation needs it. What computes with them sees nothing of
// it but addresses that change (Memory::moves()).

#include <cuda_runtime_api.h>

#include <memory>
#include <span>
#include <vector>

#include "backend/cuda/memory.h"
#include "backend/operations.h"

namespace eg4d::cuda {

class WeightStore final : public Reclaimer {
 public:
  WeightStore(Memory& memory, cudaStream_t stream);
  ~WeightStore() override;
  WeightStore(const WeightStore&) = delete;
  WeightStore& operator=(const WeightStore&) = delete;

  struct Slab;
  // A weight's memory; given back when it goes.
  class Piece {
   public:
    Piece() = default;
    Piece(WeightStore& store, Slab& slab, size_t offset, size_t bytes)
        : store_(&store), slab_(&slab), offset_(offset), bytes_(bytes) {}
    ~Piece();
    Piece(Piece&& other) noexcept;
    Piece& operator=(Piece&& other) noexcept;

    // On the device. Of one that is streamed: where it was brought to last (a Pass brings it), or would be.
    void* data() const;
    size_t bytes() const { return bytes_; }
    bool streamed() const;
    // Everything that fills it is enqueued: from now on it may move.
    void filled();

   private:
    friend class WeightStore;
    WeightStore* store_ = nullptr;
    Slab* slab_ = nullptr;
    size_t offset_ = 0, bytes_ = 0;
    bool filling_ = true;
    mutable void* brought_ = nullptr;
  };
  // Stays on the device until it is filled.
  Piece take(size_t bytes);

  // Moves weights to the host.
  size_t reclaim(size_t bytes) override;
  size_t reclaimable() const override;  // less what a larger ring takes
  // Brings them back where there is much room again.
  void restore();
  size_t streamed_bytes() const { return streamed_; }

  // While it lives these operations, and no others, are enqueued in their order: what they need is brought,
  // each weight as early as the ring allows, beside the computation. May be captured in a graph.
  class Pass {
   public:
    Pass(WeightStore& store, std::span<const Operation> operations);
    ~Pass() { store_.pass_ = nullptr; }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    friend class WeightStore;
    struct Load {
      const Piece* piece;
      const Operation* operation;
      void* to;
      int64_t after;  // the load in whose place it lies
    };
    void before(const Operation& operation);
    void after(const Operation& operation);
    void bring(const Load& load, size_t index);

    WeightStore& store_;
    std::vector<Load> loads_;
    size_t brought_ = 0, used_ = 0;  // loads that are enqueued, and those whose operations are
  };
  // Around enqueueing an operation of a pass, which is one of those that it was given.
  void before(const Operation& operation) {
    if (pass_) pass_->before(operation);
  }
  void after(const Operation& operation) {
    if (pass_) pass_->after(operation);
  }

 private:
  class Events;
  class Moving;
  struct Movable {
    std::vector<Slab*> slabs;
    std::vector<size_t> sizes;  // of them
    size_t all = 0, ring = 0;   // bytes of them; what the ring takes more when all have moved
  };
  Movable movable() const;
  Slab& slab_for(size_t bytes);
  bool move_to_host(Slab& slab);
  void make_ring(size_t largest);
  void drop_ring();
  void give_back(Slab& slab);

  Memory& memory_;
  cudaStream_t stream_, copies_ = nullptr;
  std::vector<std::unique_ptr<Slab>> slabs_;  // in the order in which weights came
  void* ring_ = nullptr;
  size_t ring_bytes_ = 0, streamed_ = 0, largest_streamed_ = 0;
  bool moving_ = false;
  Pass* pass_ = nullptr;  // the one that needs something
  std::unique_ptr<Events> events_;
};

}  // namespace eg4d::cuda
