#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "core/error.h"

namespace eg4d::cuda {

// Throws Error (OutOfMemory where that is what it is) when a call of the CUDA runtime failed; `doing`
// completes "The GPU failed while …".
inline void check(cudaError_t status, const char* doing) {
  if (status == cudaSuccess) return;
  const std::string text = std::string("the GPU failed while ") + doing + ": " + cudaGetErrorString(status);
  if (status == cudaErrorMemoryAllocation) throw OutOfMemory(text);
  throw Error(text);
}

// After a launch, which returns nothing itself.
inline void check_launch(const char* kernel) {
  check(cudaGetLastError(), kernel);
}

}  // namespace eg4d::cuda
