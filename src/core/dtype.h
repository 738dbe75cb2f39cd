#pragma once

#include <cstddef>
#include <cstdint>

namespace eg4d {

enum class DType : uint8_t { f32, f16, bf16, f64, i64, i32, u8, boolean };
size_t size_of(DType type);
const char* name_of(DType type);  // "f32", …

template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::f32;
}
template <>
constexpr DType dtype_of<double>() {
  return DType::f64;
}
template <>
constexpr DType dtype_of<int32_t>() {
  return DType::i32;
}
template <>
constexpr DType dtype_of<int64_t>() {
  return DType::i64;
}
template <>
constexpr DType dtype_of<uint8_t>() {
  return DType::u8;
}

}  // namespace eg4d
