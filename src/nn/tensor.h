#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "core/dtype.h"
#include "core/shape.h"

namespace eg4d {

// A dense, row-major array in device memory; copies share the memory. The backend must outlive it.
class Tensor {
 public:
  Tensor() = default;
  static Tensor empty(Backend& backend, Shape shape, DType type = DType::f32);
  static Tensor zeros(Backend& backend, Shape shape, DType type = DType::f32);
  template <class T>
  static Tensor from_host(Backend& backend, Shape shape, std::span<const T> values) {
    return from_bytes(backend, std::move(shape), dtype_of<T>(), values.data(), values.size_bytes());
  }
  template <class T>
  static Tensor from_host(Backend& backend, Shape shape, const std::vector<T>& values) {
    return from_host<T>(backend, std::move(shape), std::span<const T>(values));
  }
  static Tensor from_bytes(Backend& backend, Shape shape, DType type, const void* host, size_t bytes);
  // Device memory that somebody else allocated, large enough for the shape.
  static Tensor from_memory(Backend& backend, std::shared_ptr<void> memory, Shape shape,
                            DType type = DType::f32);

  bool defined() const { return memory_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int64_t dim(size_t axis) const { return shape_.at(axis); }
  int64_t count() const { return element_count(shape_); }
  size_t bytes() const { return static_cast<size_t>(count()) * size_of(type_); }
  size_t capacity() const { return capacity_; }  // bytes of the memory, of which the shape may take fewer
  DType dtype() const { return type_; }
  Backend& backend() const { return *backend_; }

  // Device pointer, for backend operations only. T must match the dtype.
  template <class T = float>
  T* data() const {
    check(dtype_of<T>());
    return static_cast<T*>(raw());
  }
  void* raw() const { return memory_.get(); }
  Array array() const { return {raw(), type_}; }  // for operations on activations

  // Explicit copies across the seam.
  template <class T = float>
  std::vector<T> to_host() const {
    check(dtype_of<T>());
    std::vector<T> host(static_cast<size_t>(count()));
    if (!host.empty()) backend_->copy_to_host(host.data(), raw(), bytes());
    return host;
  }
  void copy_from_host(const void* host, size_t bytes);
  void fill_zero();
  Tensor clone() const;
  Tensor converted(DType type) const;  // in memory of its own unless it has that floating-point type already
  Tensor reshaped(Shape shape) const;  // same memory, same count
  // `count` of the first axis from `begin` on, in the same memory.
  Tensor rows(int64_t begin, int64_t count) const;
  // Another length of the first axis, with unknown contents: in this memory where it is large enough,
  // otherwise in new memory with room for half as many rows again. Other tensors that share the memory keep
  // it.
  void set_rows(int64_t rows);
  // The elements from `offset` on as a tensor of this shape; same memory. Throws Error when there are too
  // few.
  Tensor part(int64_t offset, Shape shape) const;

 private:
  void check(DType wanted) const;
  Backend* backend_ = nullptr;
  std::shared_ptr<void> memory_;
  size_t capacity_ = 0;
  Shape shape_;
  DType type_ = DType::f32;
};

}  // namespace eg4d
