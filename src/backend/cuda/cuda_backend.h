#pragma once

#include <memory>

#include "backend/backend.h"

namespace eg4d::cuda {

// The backend for a GPU that is there and can run the kernels (cuda_library.cpp looks).
std::unique_ptr<Backend> make_cuda_backend(int device, FieldPrecision precision);

}  // namespace eg4d::cuda
