#pragma once

// GPU memory and streams for tests and benchmarks of the kernels.

#include <cuda_runtime_api.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "backend/cuda/check.h"

namespace eg4d::test {

// Why no test can run here ("there is no GPU here: …"), or nothing.
std::string missing_gpu();

// For the first line of a GPU test.
#define EG4D_NEEDS_GPU() \
  if (const std::string missing = ::eg4d::test::missing_gpu(); !missing.empty()) GTEST_SKIP() << missing

// An array in the GPU's memory. New ones are filled with a pattern (NaN as a float), so that what a kernel
// does not write is seen.
template <class T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  explicit DeviceBuffer(int64_t count) : count_(count) {
    if (count == 0) return;
    cuda::check(cudaMalloc(&memory_, bytes()), "allocating memory for a test");
    cuda::check(cudaMemset(memory_, 0xff, bytes()), "filling memory for a test");
  }
  explicit DeviceBuffer(const std::vector<T>& values) : DeviceBuffer(static_cast<int64_t>(values.size())) {
    if (count_ == 0) return;
    cuda::check(cudaMemcpy(memory_, values.data(), bytes(), cudaMemcpyHostToDevice), "copying to a GPU");
  }
  static DeviceBuffer zeros(int64_t count) {
    return DeviceBuffer(std::vector<T>(static_cast<size_t>(count)));
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~DeviceBuffer() { cudaFree(memory_); }

  T* data() const { return static_cast<T*>(memory_); }
  int64_t count() const { return count_; }
  size_t bytes() const { return static_cast<size_t>(count_) * sizeof(T); }
  std::vector<T> to_host() const {
    std::vector<T> values(static_cast<size_t>(count_));
    if (count_ > 0)
      cuda::check(cudaMemcpy(values.data(), memory_, bytes(), cudaMemcpyDeviceToHost), "copying from a GPU");
    return values;
  }
  void fill_zero() {
    if (count_ > 0) cuda::check(cudaMemset(memory_, 0, bytes()), "clearing memory");
  }

 private:
  void swap(DeviceBuffer& other) {
    std::swap(memory_, other.memory_);
    std::swap(count_, other.count_);
  }
  void* memory_ = nullptr;
  int64_t count_ = 0;
};

}  // namespace eg4d::test
