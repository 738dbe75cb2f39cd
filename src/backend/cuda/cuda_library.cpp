// The entry of libeg4d_cuda.so: looks for the GPU and says why there is none.

#include "backend/cuda_library.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <exception>

#include "backend/cuda/context_memory.h"
#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/driver.h"
#include "backend/cuda/kernel_image.h"
#include "core/byte_size.h"
#include "core/error.h"

namespace eg4d::cuda {
namespace {

CudaBackend problem(CudaProblem which, std::string details = {}) {
  return {.backend = nullptr, .problem = which, .details = std::move(details)};
}

CudaBackend problem(cudaError_t status) {
  const std::string text = fmt::format("{}: {}", cudaGetErrorName(status), cudaGetErrorString(status));
  switch (status) {
    case cudaErrorMemoryAllocation:
      return problem(CudaProblem::out_of_memory);
    case cudaErrorNoDevice:
      return problem(CudaProblem::no_device);
    case cudaErrorInsufficientDriver:
    case cudaErrorUnsupportedPtxVersion:  // machine code for this GPU would be the driver's to make
      return problem(CudaProblem::driver_too_old, text);
    case cudaErrorNoKernelImageForDevice:
      return problem(CudaProblem::device_too_old, text);
    default:
      return problem(CudaProblem::other, text);
  }
}

// Context, libraries' code, and something to compute with.
constexpr size_t kLeastCap = size_t{3} << 29;

CudaBackend make_backend(int device, FieldPrecision precision, size_t memory_cap) {
  try {
    if (CudaBackend answer = ask_driver(device); answer.problem != CudaProblem::none) return answer;
    if (memory_cap && memory_cap < kLeastCap)
      return problem(CudaProblem::cap_too_small,
                     fmt::format("{}, and {} is the least for anything", byte_size_text(memory_cap),
                                 byte_size_text(kLeastCap)));
    const ContextMemory context(device, memory_cap != 0);
    cudaError_t status = cudaSetDevice(device);
    if (status == cudaSuccess) status = load_a_kernel();
    if (status != cudaSuccess) return problem(status);
    return {.backend = make_cuda_backend(device, precision, memory_cap, context.bytes()),
            .problem = CudaProblem::none,
            .details = {}};
  } catch (const OutOfMemory&) {
    return problem(CudaProblem::out_of_memory);
  } catch (const std::exception& error) {
    return problem(CudaProblem::other, error.what());
  }
}

}  // namespace
}  // namespace eg4d::cuda

__attribute__((visibility("default"))) const eg4d::CudaLibrary* EG4D_CUDA_LIBRARY() {
  static const eg4d::CudaLibrary library{.make_backend = eg4d::cuda::make_backend};
  return &library;
}
