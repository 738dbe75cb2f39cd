#include "backend/memory_segments.h"

#include <algorithm>
#include <iterator>

namespace eg4d {
namespace {

constexpr size_t kGrain = size_t{2} << 20;       // what devices give memory in
constexpr size_t kShared = 2 * kGrain;           // segments for small requests
constexpr size_t kLeastAlone = size_t{1} << 20;  // has a segment to itself

}  // namespace

MemorySegments::~MemorySegments() {
  for (const auto& [base, segment] : segments_) source_.give_back(base);
}

size_t MemorySegments::segment_bytes(size_t bytes) {
  return bytes < kLeastAlone ? kShared : (bytes + kGrain - 1) / kGrain * kGrain;
}

// Segments of that size serve both, one after the other.
bool MemorySegments::is_shared(const Segment& segment) {
  return segment.bytes == kShared;
}

void* MemorySegments::allocate(size_t bytes, const std::function<size_t()>& room) {
  if (void* const memory = place(bytes)) return memory;
  const size_t needed = segment_bytes(bytes);
  char* const base = add(needed, room());
  return base ? put(base, segments_.at(base), bytes) : nullptr;
}

// In the smallest gap of those that are shared, or a segment of its own that is not much larger.
void* MemorySegments::place(size_t bytes) {
  const bool small = bytes < kLeastAlone;
  const size_t least = segment_bytes(bytes);
  std::pair<char* const, Segment>* best = nullptr;
  size_t best_size = 0;
  for (auto& item : segments_) {
    const Segment& segment = item.second;
    size_t size = 0;
    if (small && is_shared(segment)) {
      for (const auto& [offset, gap] : segment.gaps)
        if (gap >= bytes && (size == 0 || gap < size)) size = gap;
    } else if (!small && segment.used == 0 && segment.bytes >= least && segment.bytes <= least + least / 8) {
      size = segment.bytes;
    }
    if (size > 0 && (!best || size < best_size)) {
      best = &item;
      best_size = size;
    }
  }
  return best ? put(best->first, best->second, bytes) : nullptr;
}

void* MemorySegments::put(char* base, Segment& segment, size_t bytes) {
  if (segment.used == 0) unused_ -= segment.bytes;
  if (bytes >= kLeastAlone) {
    segment.used = segment.bytes;
    segment.gaps.clear();
    return base;
  }
  auto best = segment.gaps.end();
  for (auto gap = segment.gaps.begin(); gap != segment.gaps.end(); ++gap)
    if (gap->second >= bytes && (best == segment.gaps.end() || gap->second < best->second)) best = gap;
  const auto [offset, size] = *best;
  segment.gaps.erase(best);
  if (size > bytes) segment.gaps.emplace(offset + bytes, size - bytes);
  segment.used += bytes;
  return base + offset;
}

char* MemorySegments::add(size_t bytes, size_t room) {
  if (reserved_ - unused_ + bytes > room) return nullptr;
  while (reserved_ + bytes > room)
    if (!give_back_one()) return nullptr;
  void* taken = source_.take(bytes);
  while (!taken && give_back_one()) taken = source_.take(bytes);
  if (!taken) return nullptr;
  auto* const base = static_cast<char*>(taken);
  segments_[base] = {.bytes = bytes, .used = 0, .gaps = {{0, bytes}}};
  reserved_ += bytes;
  unused_ += bytes;
  peak_ = std::max(peak_, reserved_);
  return base;
}

// The largest that nothing is in.
bool MemorySegments::give_back_one() {
  auto largest = segments_.end();
  for (auto i = segments_.begin(); i != segments_.end(); ++i)
    if (i->second.used == 0 && (largest == segments_.end() || i->second.bytes > largest->second.bytes))
      largest = i;
  if (largest == segments_.end()) return false;
  reserved_ -= largest->second.bytes;
  unused_ -= largest->second.bytes;
  source_.give_back(largest->first);
  segments_.erase(largest);
  return true;
}

void MemorySegments::release(void* memory, size_t bytes) noexcept {
  auto* const address = static_cast<char*>(memory);
  const auto found = std::prev(segments_.upper_bound(address));
  Segment& segment = found->second;
  if (bytes >= kLeastAlone) {
    segment.used = 0;
    segment.gaps = {{0, segment.bytes}};
  } else {
    segment.used -= bytes;
    const auto offset = static_cast<size_t>(address - found->first);
    const auto gap = segment.gaps.emplace(offset, bytes).first;
    if (const auto next = std::next(gap); next != segment.gaps.end() && offset + bytes == next->first) {
      gap->second += next->second;
      segment.gaps.erase(next);
    }
    if (gap != segment.gaps.begin()) {
      const auto before = std::prev(gap);
      if (before->first + before->second == offset) {
        before->second += gap->second;
        segment.gaps.erase(gap);
      }
    }
  }
  if (segment.used == 0) unused_ += segment.bytes;
}

}  // namespace eg4d
