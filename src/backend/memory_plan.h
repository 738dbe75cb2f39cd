#pragma once

// What a device with little memory decides, as arithmetic on sizes: how much its allocations may take, what
// moves to the host, where it goes when it comes back for a moment. All sizes are bytes.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

namespace eg4d {

// What is left for allocations of a cap on everything that the process takes on a device.
class MemoryBudget {
 public:
  // cap: 0 for none. total and free: the device's, when nothing has been allocated; context: what the process
  // takes before that. `to_come`: what code and libraries will take at least that are loaded when first used.
  MemoryBudget(size_t cap, size_t total, size_t free, size_t context, size_t to_come);

  // The device's free memory now, with so much reserved for allocations. What has gone otherwise is taken for
  // this process's own up to a bound: others may use the device, too.
  void observe(size_t free, size_t reserved);

  size_t cap() const { return cap_; }          // at most the device's memory; 0: none
  size_t outside() const { return outside_; }  // context, code, libraries: as measured
  size_t for_allocations() const;              // with what is to come kept free; SIZE_MAX without a cap
  size_t available(size_t allocated, size_t free, size_t reserved) const;

 private:
  size_t cap_, free_at_first_, context_, to_come_, outside_;
};

// Which of the blocks move to the host so that `needed` bytes become free: spread evenly over their order, so
// that what is to be copied back is spread over the time of a call. All of them when that is too little.
std::vector<size_t> blocks_to_stream(std::span<const size_t> blocks, size_t needed);

// Places in a ring of memory for things that are brought one after the other, each for a short time.
class StreamRing {
 public:
  explicit StreamRing(size_t capacity) : capacity_(capacity) {}

  struct Place {
    size_t offset = 0;
    int64_t after = -1;  // the last of the earlier things in whose place it lies; -1: there is none
  };
  // For the next thing. Throws std::logic_error when it is larger than the ring.
  Place add(size_t bytes);

 private:
  struct Thing {
    size_t begin, end;
    int64_t number;
  };
  size_t capacity_, top_ = 0;
  int64_t count_ = 0;
  std::deque<Thing> there_;  // in the order in which they came
};

}  // namespace eg4d
