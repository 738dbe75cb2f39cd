#include "cuda/support/device.h"

namespace eg4d::test {

std::string missing_gpu() {
  int devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&devices);
  if (status == cudaSuccess && devices > 0) return {};
  return std::string("there is no GPU here: ") +
         (status == cudaSuccess ? "none is visible" : cudaGetErrorString(status));
}

}  // namespace eg4d::test
