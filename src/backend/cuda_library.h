#pragma once

// What libeg4d_cuda.so offers (src/backend/cuda/): a Backend for NVIDIA GPUs. The program loads it when a GPU
// is asked for (make_backend, backend/backend.h), so that it starts without CUDA's libraries. Program and
// library must be built from the same sources: operations cross between them as C++ structures.

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <variant>

#include "backend/backend.h"

namespace eg4d {

// Raised by whoever changes Backend, an operation's structure or these declarations.
constexpr uint32_t kCudaLibraryVersion = 3;

namespace detail {
template <class... Operations>
constexpr uint64_t layout_of(std::type_identity<std::variant<Operations...>>) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const uint64_t size : {sizeof(Operations)...}) hash = (hash ^ size) * 0x100000001b3;
  return hash;
}
}  // namespace detail

// Differs where an operation was added, removed or changed in size: finds a library that was not built again.
constexpr uint64_t kOperationsLayout = detail::layout_of(std::type_identity<Operation>{});

// Why there is no backend. What the user reads is made from it by the program.
enum class CudaProblem : uint32_t {
  none,
  no_driver,       // there is no NVIDIA driver
  driver_too_old,  // older than the CUDA version of the library
  no_device,       // a driver, and no GPU that the process may use
  no_such_device,  // fewer GPUs than the index asks for
  device_too_old,  // the GPU's compute capability is below what the library holds code for
  out_of_memory,   // no memory is left on the GPU for even the smallest work
  cap_too_small,   // the cap on memory is below what the smallest work takes
  other,
};

struct CudaBackend {
  std::unique_ptr<Backend> backend;  // nothing when there is a problem
  CudaProblem problem = CudaProblem::none;
  // With a problem: the facts, as the end of a sentence: "driver 470.82 knows CUDA 11.4, 12.4 is needed",
  // "there are 2 GPUs", "Tesla K80 has compute capability 3.7, 8.0 is needed", "cudaErrorUnknown: …".
  std::string details;
};

struct CudaLibrary {
  // These two first, whatever comes behind in a later version.
  uint32_t version = kCudaLibraryVersion;
  uint64_t operations = kOperationsLayout;

  // The backend for the GPU of that index (as CUDA counts, CUDA_VISIBLE_DEVICES respected). Throws nothing.
  CudaBackend (*make_backend)(int device, FieldPrecision precision, size_t memory_cap) = nullptr;
};

// The one function that the library exports; what it points to is there for good.
#define EG4D_CUDA_LIBRARY eg4d_cuda_library
#define EG4D_CUDA_LIBRARY_NAME "eg4d_cuda_library"

}  // namespace eg4d

extern "C" const eg4d::CudaLibrary* EG4D_CUDA_LIBRARY();
