#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <vector>

#include "backend/cuda/check.h"
#include "backend/cuda/memory.h"

namespace eg4d::cuda {

// Cleared memory for something to be measured on, until it goes.
class MeasuringMemory {
 public:
  MeasuringMemory(Memory& memory, cudaStream_t stream) : memory_(memory), stream_(stream) {}
  ~MeasuringMemory() {
    for (void* taken : taken_) memory_.release(taken);
  }
  MeasuringMemory(const MeasuringMemory&) = delete;
  MeasuringMemory& operator=(const MeasuringMemory&) = delete;

  void* take(size_t bytes) {
    taken_.push_back(memory_.allocate(bytes));
    check(cudaMemsetAsync(taken_.back(), 0, bytes, stream_), "measuring");
    return taken_.back();
  }

 private:
  Memory& memory_;
  cudaStream_t stream_;
  std::vector<void*> taken_;
};

// What `enqueue` enqueues takes, at best of some times; of fewer where that is clearly more than `known`, the
// best way's so far (0: there is none). Waits for the GPU.
template <class Enqueue>
float milliseconds(cudaStream_t stream, const Enqueue& enqueue, float known = 0) {
  constexpr float kClearly = 1.2f;
  cudaEvent_t begin = nullptr, end = nullptr;
  check(cudaEventCreate(&begin), "measuring");
  check(cudaEventCreate(&end), "measuring");
  float best = 0;
  for (int repeat = 0; repeat < 4; ++repeat) {
    cudaEventRecord(begin, stream);
    enqueue();
    cudaEventRecord(end, stream);
    check(cudaEventSynchronize(end), "measuring");
    float time = 0;
    cudaEventElapsedTime(&time, begin, end);
    best = repeat == 0 ? time : std::min(best, time);
    // The first time says nothing: code may have had to be loaded.
    if (repeat > 0 && known > 0 && best > kClearly * known) break;
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return best;
}

}  // namespace eg4d::cuda
