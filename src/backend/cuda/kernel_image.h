#pragma once

#include <cuda_runtime_api.h>

namespace eg4d::cuda {

// Looks whether the library holds code for the current GPU, or the driver can make it.
cudaError_t load_a_kernel();

}  // namespace eg4d::cuda
