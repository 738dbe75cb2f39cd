#include "nn/arena.h"

#include <algorithm>

#include "core/error.h"

namespace eg4d {
namespace {
constexpr size_t kAlignment = 64;
constexpr size_t kPlannedBase = 4096;  // of the addresses in a plan
}  // namespace

Arena::~Arena() {
  backend_->release(block_);
}

Arena::Plan::Plan(Arena& arena) : arena_(arena) {
  if (arena.in_use()) throw Error("activations of an earlier network call are still alive");
  arena.planning_ = true;
  arena.needed_ = 0;
}

void Arena::use_plan() {
  if (needed_ <= capacity_) return;
  backend_->release(block_);
  block_ = nullptr;
  capacity_ = 0;
  ++version_;
  block_ = backend_->allocate(needed_);
  capacity_ = needed_;
}

Tensor Arena::empty(Shape shape, DType type) {
  const size_t wanted = std::max<size_t>(static_cast<size_t>(element_count(shape)) * size_of(type), 1);
  const size_t bytes = (wanted + kAlignment - 1) / kAlignment * kAlignment;
  const size_t offset = take(bytes);
  void* memory =
      planning_ ? reinterpret_cast<void*>(kPlannedBase + offset) : static_cast<char*>(block_) + offset;
  std::shared_ptr<void> owner(memory, [this, offset, bytes](void*) { give_back(offset, bytes); });
  return Tensor::from_memory(*backend_, std::move(owner), std::move(shape), type);
}

size_t Arena::take(size_t bytes) {
  auto best = gaps_.end();
  for (auto gap = gaps_.begin(); gap != gaps_.end(); ++gap)
    if (gap->second >= bytes && (best == gaps_.end() || gap->second < best->second)) best = gap;
  if (best != gaps_.end()) {
    const auto [offset, size] = *best;
    gaps_.erase(best);
    if (size > bytes) gaps_.emplace(offset + bytes, size - bytes);
    return offset;
  }
  const size_t offset = top_;
  if (!planning_ && offset + bytes > capacity_)
    throw Error("a network call needs more memory than was planned");
  top_ += bytes;
  needed_ = std::max(needed_, top_);
  return offset;
}

void Arena::give_back(size_t offset, size_t bytes) {
  auto [gap, inserted] = gaps_.emplace(offset, bytes);
  if (const auto next = std::next(gap); next != gaps_.end() && offset + bytes == next->first) {
    gap->second += next->second;
    gaps_.erase(next);
  }
  if (gap != gaps_.begin()) {
    const auto before = std::prev(gap);
    if (before->first + before->second == offset) {
      before->second += gap->second;
      gaps_.erase(gap);
      gap = before;
    }
  }
  if (gap->first + gap->second == top_) {
    top_ = gap->first;
    gaps_.erase(gap);
  }
}

}  // namespace eg4d
