#pragma once

// What tests and benchmarks may ask the CPU backend, beyond the seam.

#include <cstddef>
#include <cstdint>

#include "backend/backend.h"

namespace eg4d::cpu {

// The most that allocated_bytes() has been, working memory of the kernels included. Throws std::bad_cast when
// it is not the CPU backend itself.
size_t peak_allocated_bytes(const Backend& backend);

// Gaussian-tile pairs of the context's last forward pass.
int64_t pair_count(const RasterizeContext& context);

}  // namespace eg4d::cpu
