#pragma once

#include <string_view>

#include "core/dtype.h"

namespace eg4d {

// PyTorch's storage classes (in the module "torch") and what they hold.
struct TorchStorageType {
  std::string_view name;
  DType dtype;
};
inline constexpr TorchStorageType kTorchStorageTypes[] = {
    {"FloatStorage", DType::f32},  {"HalfStorage", DType::f16},    {"BFloat16Storage", DType::bf16},
    {"DoubleStorage", DType::f64}, {"LongStorage", DType::i64},    {"IntStorage", DType::i32},
    {"ByteStorage", DType::u8},    {"BoolStorage", DType::boolean}};

}  // namespace eg4d
