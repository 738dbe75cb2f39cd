#include "backend/cuda/check.h"

#include <string>

#include "backend/backend.h"
#include "core/error.h"

namespace eg4d::cuda {

OutOfMemory out_of_memory_of_library(const char* library, const char* doing) {
  return OutOfMemory(std::string("out of memory: ") + library + " found none on the GPU while " + doing +
                     kMemoryAdvice);
}

void fail_by(cudaError_t status, const char* doing) {
  const std::string text = std::string("the GPU failed while ") + doing + ": " + cudaGetErrorString(status);
  if (status == cudaErrorMemoryAllocation) throw OutOfMemory(text + kMemoryAdvice);
  throw Error(text);
}

void not_on_this_device(const char* sentence) {
  throw NotOnThisDevice(sentence);
}

void fail(const char* sentence) {
  throw Error(sentence);
}

}  // namespace eg4d::cuda
