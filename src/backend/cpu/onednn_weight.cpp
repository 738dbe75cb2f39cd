#include "backend/cpu/onednn_weight.h"

#include <utility>

namespace eg4d::cpu::onednn {
namespace {

// Gives the memory back unless it is taken.
class Block {
 public:
  Block(Memory& memory, size_t bytes) : memory_(memory), data_(memory.allocate(bytes)) {}
  ~Block() { memory_.release(data_); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  void* get() const { return data_; }
  void* take() { return std::exchange(data_, nullptr); }

 private:
  Memory& memory_;
  void* data_;
};

}  // namespace

WeightCopies::~WeightCopies() {
  for (const Copy& copy : copies_) budget_.memory.release(copy.data);
  budget_.bytes_left += charged_;
}

size_t WeightCopies::bytes() const {
  size_t sum = 0;
  for (const Copy& copy : copies_) sum += dnnl_memory_desc_get_size(&copy.layout);
  return sum;
}

bool WeightCopies::may_keep_two(size_t bytes) const {
  return changed_ && charged_ == 0 && bytes <= budget_.bytes_left;
}

const WeightCopies::Copy& WeightCopies::in(const MemoryDescription& layout, const Fill& fill) {
  for (Copy& copy : copies_)
    if (dnnl_memory_desc_equal(&copy.layout, &layout)) {
      std::swap(copy, copies_.front());
      return copies_.front();
    }
  const size_t bytes = dnnl_memory_desc_get_size(&layout);
  copies_.reserve(2);
  Block block(budget_.memory, bytes);
  fill(layout, block.get());
  if (may_keep_two(bytes)) {
    charged_ = bytes;
    budget_.bytes_left -= bytes;
  } else if (!copies_.empty()) {
    changed_ = true;
    budget_.memory.release(copies_.back().data);
    copies_.pop_back();
  }
  copies_.insert(copies_.begin(), {layout, block.take()});
  return copies_.front();
}

}  // namespace eg4d::cpu::onednn
