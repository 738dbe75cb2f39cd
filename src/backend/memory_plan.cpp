#include "backend/memory_plan.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace eg4d {
namespace {

constexpr size_t kAlignment = 256;
constexpr size_t kMostGrowth = size_t{2} << 30;  // of what is outside: more is another process's

size_t less(size_t a, size_t b) {
  return a > b ? a - b : 0;
}

}  // namespace

MemoryBudget::MemoryBudget(size_t cap, size_t total, size_t free, size_t context, size_t to_come)
    : cap_(std::min(cap, total)),
      free_at_first_(free),
      context_(context),
      to_come_(to_come),
      outside_(context) {}

void MemoryBudget::observe(size_t free, size_t reserved) {
  const size_t gone = less(less(free_at_first_, free), reserved);
  outside_ = std::max(outside_, context_ + std::min(gone, kMostGrowth));
}

size_t MemoryBudget::for_allocations() const {
  return cap_ == 0 ? SIZE_MAX : less(cap_, std::max(outside_, context_ + to_come_));
}

size_t MemoryBudget::available(size_t allocated, size_t free, size_t reserved) const {
  return std::min(less(for_allocations(), allocated), free + less(reserved, allocated));
}

std::vector<size_t> blocks_to_stream(std::span<const size_t> blocks, size_t needed) {
  const size_t all = std::accumulate(blocks.begin(), blocks.end(), size_t{0});
  std::vector<size_t> chosen;
  size_t passed = 0, freed = 0;
  // Whenever what is chosen falls behind its share of what was passed.
  for (size_t i = 0; i < blocks.size() && freed < needed; ++i) {
    passed += blocks[i];
    const double share = std::min(1.0, static_cast<double>(needed) / static_cast<double>(all));
    const bool last_chance = freed + (all - passed) < needed;
    if (!last_chance && static_cast<double>(freed) + static_cast<double>(blocks[i]) / 2 >=
                            share * static_cast<double>(passed))
      continue;
    chosen.push_back(i);
    freed += blocks[i];
  }
  return chosen;
}

StreamRing::Place StreamRing::add(size_t bytes) {
  if (bytes > capacity_) throw std::logic_error("something larger than the ring it is streamed through");
  if (top_ + bytes > capacity_) top_ = 0;
  Place place{.offset = top_};
  const size_t end = top_ + bytes;
  // In order: what lies here came before everything that is kept.
  const auto overlaps = [&](const Thing& thing) { return thing.begin < end && top_ < thing.end; };
  for (size_t i = there_.size(); i-- > 0;)
    if (overlaps(there_[i])) {
      place.after = there_[i].number;
      there_.erase(there_.begin(), there_.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      break;
    }
  there_.push_back({top_, end, count_++});
  top_ = (end + kAlignment - 1) / kAlignment * kAlignment;
  return place;
}

}  // namespace eg4d
