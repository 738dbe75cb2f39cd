#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>

namespace eg4d {

// Number of threads that parallel loops use; 0 asks for one per hardware thread.
void set_thread_count(int count);
int thread_count();
int thread_number();  // of the caller in its parallel loop, below thread_count()

// Carries an exception out of a parallel region, which it may not leave by itself.
class FirstException {
 public:
  // Calls work, unless an exception has been caught before.
  template <class Work>
  void guard(Work&& work) noexcept {
    if (caught_.load(std::memory_order_relaxed)) return;
    try {
      work();
    } catch (...) {
      if (!caught_.exchange(true)) exception_ = std::current_exception();
    }
  }
  // After the region: throws what was caught first.
  void rethrow() const {
    if (exception_) std::rethrow_exception(exception_);
  }

 private:
  std::atomic<bool> caught_ = false;
  std::exception_ptr exception_;
};

// Calls body(begin, end) for consecutive chunks of `grain` items that cover [0, count).
// The partition depends on count and grain alone, never on the number of threads, so that a loop whose chunks
// are independent (or that are reduced in chunk order afterwards) gives the same bits on any machine size.
// When the body throws, chunks that have not begun are left out and the first exception is thrown again here.
template <class Body>
void parallel_for(int64_t count, int64_t grain, Body&& body) {
  grain = std::max<int64_t>(grain, 1);
  const int64_t chunks = (count + grain - 1) / grain;
  if (chunks <= 1) {
    if (count > 0) body(int64_t{0}, count);
    return;
  }
  FirstException failure;
#pragma omp parallel for schedule(dynamic, 1)
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    failure.guard([&] { body(chunk * grain, std::min(count, (chunk + 1) * grain)); });
  }
  failure.rethrow();
}

// The threads of parallel_team.
struct Team {
  int number = 0, size = 1;

  // Of a range [0, count) in which each has a share: where that of this one begins, and of the next one.
  int64_t begin(int64_t count) const { return count * number / size; }
  int64_t end(int64_t count) const { return count * (number + 1) / size; }
  // Waits until all have come here.
  void wait() const;
};
Team this_team();

// Calls body(team) in all threads at once: work of several steps that would each be too short for a loop of
// its own. Every thread must call wait() as often; the body throws nothing.
template <class Body>
void parallel_team(const Body& body) {
#pragma omp parallel
  body(this_team());
}

}  // namespace eg4d
