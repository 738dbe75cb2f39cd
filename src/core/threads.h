#pragma once

#include <algorithm>
#include <cstdint>

namespace eg4d {

// Number of threads that parallel loops use; 0 asks for one per hardware thread.
void set_thread_count(int count);
int thread_count();
int thread_number();  // of the caller in its parallel loop, below thread_count()

// Calls body(begin, end) for consecutive chunks of `grain` items that cover [0, count).
// The partition depends on count and grain alone, never on the number of threads, so that a loop whose chunks
// are independent (or that are reduced in chunk order afterwards) gives the same bits on any machine size.
// The body must not throw.
template <class Body>
void parallel_for(int64_t count, int64_t grain, Body&& body) {
  grain = std::max<int64_t>(grain, 1);
  const int64_t chunks = (count + grain - 1) / grain;
  if (chunks <= 1) {
    if (count > 0) body(int64_t{0}, count);
    return;
  }
#pragma omp parallel for schedule(dynamic, 1)
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    body(chunk * grain, std::min(count, (chunk + 1) * grain));
  }
}

}  // namespace eg4d
