// The entry of libeg4d_cuda.so: looks for the GPU and says why there is none.

#include "backend/cuda_library.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <exception>

#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/kernel_image.h"
#include "core/error.h"

namespace eg4d::cuda {
namespace {

constexpr int kLeastMajor = 8;  // compute capability that the kernels are written for

std::string version_text(int version) {  // as CUDA counts: 13000
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}
std::string text_of(cudaError_t status) {
  return fmt::format("{}: {}", cudaGetErrorName(status), cudaGetErrorString(status));
}

CudaBackend problem(CudaProblem which, std::string details = {}) {
  return {.backend = nullptr, .problem = which, .details = std::move(details)};
}

CudaBackend problem(cudaError_t status) {
  switch (status) {
    case cudaErrorMemoryAllocation:
      return problem(CudaProblem::out_of_memory);
    case cudaErrorNoDevice:
      return problem(CudaProblem::no_device);
    case cudaErrorNoKernelImageForDevice:
      return problem(CudaProblem::device_too_old, text_of(status));
    default:
      return problem(CudaProblem::other, text_of(status));
  }
}

// Of the driver; `none` when it is there and new enough.
CudaBackend look_at_driver() {
  int driver = 0, needed = 0;
  cudaError_t status = cudaDriverGetVersion(&driver);
  if (status == cudaSuccess && driver == 0) return problem(CudaProblem::no_driver);
  if (status == cudaSuccess) status = cudaRuntimeGetVersion(&needed);
  int devices = 0;
  if (status == cudaSuccess) status = cudaGetDeviceCount(&devices);
  if (status == cudaErrorInsufficientDriver)
    return problem(CudaProblem::driver_too_old,
                   fmt::format("it knows CUDA {}, {} is needed", version_text(driver), version_text(needed)));
  if (status != cudaSuccess) return problem(status);
  if (devices == 0) return problem(CudaProblem::no_device);
  return {};
}

CudaBackend look_at_device(int device) {
  int devices = 0, major = 0, minor = 0;
  if (const cudaError_t status = cudaGetDeviceCount(&devices); status != cudaSuccess) return problem(status);
  if (device < 0 || device >= devices)
    return problem(CudaProblem::no_such_device,
                   devices == 1 ? "there is 1 GPU" : fmt::format("there are {} GPUs", devices));
  cudaError_t status = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  if (status == cudaSuccess)
    status = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
  if (status != cudaSuccess) return problem(status);
  if (major < kLeastMajor) {
    cudaDeviceProp properties;
    status = cudaGetDeviceProperties(&properties, device);
    return problem(CudaProblem::device_too_old,
                   fmt::format("{} has compute capability {}.{}, {}.0 is needed",
                               status == cudaSuccess ? properties.name : "it", major, minor, kLeastMajor));
  }
  status = cudaSetDevice(device);
  if (status == cudaSuccess) status = load_a_kernel();
  if (status != cudaSuccess) return problem(status);
  return {};
}

CudaBackend make_backend(int device) {
  try {
    if (CudaBackend answer = look_at_driver(); answer.problem != CudaProblem::none) return answer;
    if (CudaBackend answer = look_at_device(device); answer.problem != CudaProblem::none) return answer;
    return {.backend = make_cuda_backend(device), .problem = CudaProblem::none, .details = {}};
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
