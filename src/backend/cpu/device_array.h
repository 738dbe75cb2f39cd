#pragma once

#include <cstdint>

#include "backend/cpu/memory.h"

namespace eg4d::cpu {

// Working memory that is kept between calls and counted as device memory.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(Memory& memory) : memory_(memory) {}
  ~DeviceArray() { memory_.release(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  // At least `count` elements. Grows with room to spare, since the number of Gaussians does; the contents are
  // then undefined.
  T* resize(int64_t count) {
    if (count > capacity_) {
      memory_.release(data_);
      data_ = nullptr;
      capacity_ = 0;
      const int64_t wanted = count + count / 4;
      data_ = static_cast<T*>(memory_.allocate(static_cast<size_t>(wanted) * sizeof(T)));
      capacity_ = wanted;
    }
    return data_;
  }
  T* data() { return data_; }
  const T* data() const { return data_; }
  T& operator[](int64_t i) { return data_[i]; }
  const T& operator[](int64_t i) const { return data_[i]; }

 private:
  Memory& memory_;
  T* data_ = nullptr;
  int64_t capacity_ = 0;
};

}  // namespace eg4d::cpu
