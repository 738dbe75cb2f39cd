#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "core/error.h"

namespace eg4d::cuda {

// Where memory runs out outside what this program allocates itself.
constexpr const char* kMemoryAdvice =
    "; end what else takes the GPU's memory, or keep to what is left with --memory SIZE";
inline OutOfMemory out_of_memory_of_library(const char* library, const char* doing) {
  return OutOfMemory(std::string("out of memory: ") + library + " found none on the GPU while " + doing +
                     kMemoryAdvice);
}

// Throws Error (OutOfMemory where that is what it is) when a call of the CUDA runtime failed; `doing`
// completes "The GPU failed while …".
inline void check(cudaError_t status, const char* doing) {
  if (status == cudaSuccess) return;
  const std::string text = std::string("the GPU failed while ") + doing + ": " + cudaGetErrorString(status);
  if (status == cudaErrorMemoryAllocation) throw OutOfMemory(text + kMemoryAdvice);
  throw Error(text);
}

// After a launch, which returns nothing itself.
inline void check_launch(const char* kernel) {
  check(cudaGetLastError(), kernel);
}

}  // namespace eg4d::cuda
