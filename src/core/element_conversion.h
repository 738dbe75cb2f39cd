#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/dtype.h"

namespace eg4d {

inline bool is_floating_point(DType type) {
  return type == DType::f32 || type == DType::f16 || type == DType::bf16 || type == DType::f64;
}

// `count` numbers of any type, at any alignment, as floats: rounded to nearest, true is 1.
void to_floats(DType type, const std::byte* data, int64_t count, float* to);
std::vector<float> floats_from(DType type, const std::byte* data, size_t count);

}  // namespace eg4d
