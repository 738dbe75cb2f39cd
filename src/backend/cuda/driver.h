#pragma once

#include "backend/cuda_library.h"

namespace eg4d::cuda {

// What the NVIDIA driver itself says of the GPU of that number, before CUDA's runtime is touched, which does
// not tell these cases apart: no driver, one too old, no GPU, too few, one too old. Without a problem there
// is no backend in the answer either.
CudaBackend ask_driver(int device);

}  // namespace eg4d::cuda
