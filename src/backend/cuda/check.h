#pragma once

#include <cuda_runtime_api.h>

namespace eg4d {
class OutOfMemory;
}

namespace eg4d::cuda {

// Where memory runs out outside what this program allocates itself.
constexpr const char* kMemoryAdvice =
    "; end what else takes the GPU's memory, or keep to what is left with --memory SIZE";
OutOfMemory out_of_memory_of_library(const char* library, const char* doing);

[[noreturn]] void fail_by(cudaError_t status, const char* doing);
// Throws Error (OutOfMemory where that is what it is) when a call of the CUDA runtime failed; `doing`
// completes "The GPU failed while …".
inline void check(cudaError_t status, const char* doing) {
  if (status != cudaSuccess) fail_by(status, doing);
}

// After a launch, which returns nothing itself.
inline void check_launch(const char* kernel) {
  check(cudaGetLastError(), kernel);
}

// Throw NotOnThisDevice, and Error. Kernels' files include no header of exceptions and strings: nvcc reads a
// file once for each architecture and twice for the host.
[[noreturn]] void not_on_this_device(const char* sentence);
[[noreturn]] void fail(const char* sentence);

}  // namespace eg4d::cuda
