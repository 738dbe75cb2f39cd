#pragma once

#include <memory>

#include "backend/backend.h"

namespace eg4d::cuda {

// The backend for a GPU that is there and can run the kernels (cuda_library.cpp looks). memory_cap: 0 for
// none; context: what of it the driver has taken.
std::unique_ptr<Backend> make_cuda_backend(int device, FieldPrecision precision, size_t memory_cap = 0,
                                           size_t context = 0);

}  // namespace eg4d::cuda
