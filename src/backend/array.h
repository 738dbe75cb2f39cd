#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace eg4d {

// Numbers of some floating-point type in device memory, as operations on activations take them. Sums,
// statistics and softmax are f32 whatever the type is; results are rounded to it once.
struct Array {
  Array() = default;
  constexpr Array(void* d, DType t) : data(d), type(t) {}
  constexpr Array(float* d) : data(d) {}  // NOLINT(google-explicit-constructor)

  explicit operator bool() const { return data != nullptr; }
  Array at(int64_t element) const {  // from there on
    return {static_cast<char*>(data) + element * static_cast<int64_t>(size_of(type)), type};
  }
  float* f32() const { return static_cast<float*>(data); }  // for kernels that were given nothing else

  void* data = nullptr;
  DType type = DType::f32;
};

struct ConstArray {
  ConstArray() = default;
  constexpr ConstArray(const void* d, DType t) : data(d), type(t) {}
  constexpr ConstArray(const float* d) : data(d) {}                     // NOLINT(google-explicit-constructor)
  constexpr ConstArray(const Array& a) : data(a.data), type(a.type) {}  // NOLINT(google-explicit-constructor)

  explicit operator bool() const { return data != nullptr; }
  ConstArray at(int64_t element) const {
    return {static_cast<const char*>(data) + element * static_cast<int64_t>(size_of(type)), type};
  }
  const float* f32() const { return static_cast<const float*>(data); }

  const void* data = nullptr;
  DType type = DType::f32;
};

}  // namespace eg4d
