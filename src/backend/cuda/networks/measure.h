#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>

#include "backend/cuda/check.h"

namespace eg4d::cuda {

// What `enqueue` enqueues takes, at best of some times. Waits for the GPU.
template <class Enqueue>
float milliseconds(cudaStream_t stream, const Enqueue& enqueue) {
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
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return best;
}

}  // namespace eg4d::cuda
