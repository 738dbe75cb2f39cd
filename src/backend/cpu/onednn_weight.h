#pragma once

// A layer's weight as oneDNN wants it. Brings dnnl.h with it: for onednn*.cpp alone.

#include <functional>
#include <vector>

#include "backend/cpu/memory.h"
#include "backend/cpu/onednn_primitives.h"

namespace eg4d::cpu::onednn {

// Memory for second copies of weights, shared by all layers.
struct CopyBudget {
  Memory& memory;
  size_t bytes_left;
};

// One weight in the layouts that were asked for. A layer usually meets one kind of shape: the layout that it
// was loaded in then goes when another is wanted. Where shapes alternate (the last piece of a batch, pictures
// of two sizes) both layouts are kept while the budget lasts, so that the weight is not laid out anew in
// every call.
class WeightCopies {
 public:
  struct Copy {
    MemoryDescription layout;
    void* data;
  };
  // Fills `to` with the weight in that layout.
  using Fill = std::function<void(const MemoryDescription& layout, void* to)>;

  explicit WeightCopies(CopyBudget& budget) : budget_(budget) {}
  ~WeightCopies();
  WeightCopies(const WeightCopies&) = delete;
  WeightCopies& operator=(const WeightCopies&) = delete;

  // Made with `fill` where there is none; what lies in latest() is still there while it runs.
  const Copy& in(const MemoryDescription& layout, const Fill& fill);
  const Copy& latest() const { return copies_.front(); }
  size_t bytes() const;

 private:
  bool may_keep_two(size_t bytes) const;

  CopyBudget& budget_;
  std::vector<Copy> copies_;  // the one used last in front; at most two
  bool changed_ = false;      // another layout than the first was asked for
  size_t charged_ = 0;        // to the budget
};

class Weight final : public PackedWeight {
 public:
  Weight(WeightShape shape, CopyBudget& budget)
      : PackedWeight({shape.in(), shape.out(), shape.linear() ? 1 : shape.kernel_height(),
                      shape.linear() ? 1 : shape.kernel_width()}),
        shape_(std::move(shape)),
        forward_(budget),
        backward_(budget),
        memory_(budget.memory) {}
  ~Weight() override { memory_.release(bias_); }
  Weight(const Weight&) = delete;
  Weight& operator=(const Weight&) = delete;

  size_t bytes() const override {
    return forward_.bytes() + backward_.bytes() +
           (bias_ ? static_cast<size_t>(shape_.out()) * sizeof(float) : 0);
  }

  const WeightShape shape_;
  // Weights are const to their users, who share them; only layouts change, under OneDnn's lock.
  mutable WeightCopies forward_, backward_;  // backward: made when a gradient is first asked for
  float* bias_ = nullptr;

 private:
  Memory& memory_;
};

}  // namespace eg4d::cpu::onednn
