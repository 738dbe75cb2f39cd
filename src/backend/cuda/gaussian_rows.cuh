#pragma once

// Arrays with a few floats per Gaussian, one Gaussian a thread.

#include <cstdint>

namespace eg4d::cuda {

struct Vector3 {
  float x, y, z;
};
__device__ inline float dot(const Vector3& a, const Vector3& b) {
  return fmaf(a.x, b.x, fmaf(a.y, b.y, a.z * b.z));
}
__device__ inline Vector3 scaled(const Vector3& v, float factor) {
  return {v.x * factor, v.y * factor, v.z * factor};
}
__device__ inline Vector3 load3(const float* rows, int64_t i) {
  return {rows[3 * i], rows[3 * i + 1], rows[3 * i + 2]};
}
__device__ inline void store3(float* rows, int64_t i, const Vector3& v) {
  rows[3 * i] = v.x;
  rows[3 * i + 1] = v.y;
  rows[3 * i + 2] = v.z;
}
__device__ inline void add3(float* rows, int64_t i, const Vector3& v) {
  const Vector3 old = load3(rows, i);
  store3(rows, i, {old.x + v.x, old.y + v.y, old.z + v.z});
}

inline unsigned blocks_for(int64_t items, int threads) {
  return static_cast<unsigned>((items + threads - 1) / threads);
}

}  // namespace eg4d::cuda
