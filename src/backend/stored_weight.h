#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/dtype.h"

namespace eg4d {

// A layer's weight or bias as a file holds it, in HOST memory (mapped, as a rule): the backend converts it
// and lays it out, so that there is no other copy on the host. Its elements are those of a row-major array
// with the outputs along the first axis.
struct StoredWeight {
  // Stored tensors, one after the other along the first axis.
  struct Part {
    const std::byte* data = nullptr;  // at any alignment
    DType type = DType::f32;          // a floating-point type
    int64_t rows = 0, columns = 1;    // outputs, and elements of each
    bool transposed = false;          // stored as [columns,rows]
  };
  std::vector<Part> parts;
  float scale = 1;  // factor on every element

  StoredWeight() = default;
  // `count` floats.
  StoredWeight(const float* data, int64_t count)
      : parts{{reinterpret_cast<const std::byte*>(data), DType::f32, count, 1, false}} {}
  StoredWeight(const std::vector<float>& values)  // NOLINT(google-explicit-constructor)
      : StoredWeight(values.data(), static_cast<int64_t>(values.size())) {
    if (values.empty()) parts.clear();
  }

  explicit operator bool() const { return !parts.empty(); }
  int64_t count() const;  // elements
  // The stored f32 numbers themselves, where nothing has to be done to them; else null.
  const float* as_floats() const;
  // All elements, in order; `to` holds count() of them.
  void copy_as_floats(float* to) const;
};

}  // namespace eg4d
