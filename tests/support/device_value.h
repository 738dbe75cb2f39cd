#pragma once

#include <type_traits>

#include "nn/tensor.h"

namespace eg4d::test {

// A plain structure in device memory, for operations that take a pointer to one.
template <class T>
class DeviceValue {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  DeviceValue(Backend& backend, const T& value)
      : memory_(Tensor::empty(backend, {static_cast<int64_t>(sizeof(T))}, DType::u8)) {
    set(value);
  }
  void set(const T& value) { memory_.copy_from_host(&value, sizeof(T)); }
  T* data() const { return static_cast<T*>(memory_.raw()); }

 private:
  Tensor memory_;
};

}  // namespace eg4d::test
