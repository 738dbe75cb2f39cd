#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

#include "nn/tensor.h"

namespace eg4d {

// Memory for a network's activations: one device block. Its size is found by going through the network once
// without computing (see Session); the same sequence of allocations then gets the same places.
class Arena {
 public:
  explicit Arena(Backend& backend) : backend_(&backend) {}
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // While one lives, tensors have addresses that no operation may touch. All tensors must be gone when it is
  // made: throws Error otherwise.
  class Plan {
   public:
    explicit Plan(Arena& arena);
    ~Plan() { arena_.planning_ = false; }
    Plan(const Plan&) = delete;
    Plan& operator=(const Plan&) = delete;

   private:
    Arena& arena_;
  };
  // Gets the memory that the plan needed, unless the block is already large enough. All tensors must be gone.
  void use_plan();

  // The smallest free gap that is large enough. The arena must outlive the tensor.
  Tensor empty(Shape shape, DType type = DType::f32);

  size_t needed() const { return needed_; }      // bytes, of the plan that is being made
  size_t capacity() const { return capacity_; }  // bytes of the block: the largest plan so far
  bool in_use() const { return top_ != 0; }      // is a tensor alive?
  uint64_t version() const { return version_; }  // another one whenever the block has moved
  Backend& backend() const { return *backend_; }

 private:
  size_t take(size_t bytes);
  void give_back(size_t offset, size_t bytes);

  Backend* backend_;
  void* block_ = nullptr;
  size_t capacity_ = 0;
  uint64_t version_ = 0;
  bool planning_ = false;
  size_t top_ = 0, needed_ = 0;    // end of what is used now, at most
  std::map<size_t, size_t> gaps_;  // offset → bytes, below top_
};

}  // namespace eg4d
