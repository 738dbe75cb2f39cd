// Compiled without contraction: see core/portable_math.h.

#include <algorithm>
#include <array>
#include <cmath>

#include "backend/cpu/splat_kernels.h"
#include "core/portable_math.h"
#include "core/random.h"
#include "core/threads.h"

namespace eg4d::cpu {
namespace {

constexpr int64_t kGrain = 512;

using Vector = std::array<double, 3>;

// R(q)·v with q = w,x,y,z, normalised here.
Vector rotate(const float* quaternion, const Vector& v) {
  double q[4];
  for (int i = 0; i < 4; ++i) q[i] = static_cast<double>(quaternion[i]);
  const double norm = std::max(std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]), 1e-12);
  const double w = q[0] / norm, x = q[1] / norm, y = q[2] / norm, z = q[3] / norm;
  return {(1 - 2 * (y * y + z * z)) * v[0] + 2 * (x * y - w * z) * v[1] + 2 * (x * z + w * y) * v[2],
          2 * (x * y + w * z) * v[0] + (1 - 2 * (x * x + z * z)) * v[1] + 2 * (y * z - w * x) * v[2],
          2 * (x * z - w * y) * v[0] + 2 * (y * z + w * x) * v[1] + (1 - 2 * (x * x + y * y)) * v[2]};
}

}  // namespace

void split_noise(const SplitNoise& a) {
  parallel_for(2 * a.count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t part = i / a.count;
      float normals[4];
      Philox::normals(a.seed, a.stream, static_cast<uint64_t>(2 * int64_t{a.rows[i % a.count]} + part),
                      normals);
      std::copy(normals, normals + 3, a.normals + 3 * i);
    }
  });
}

void split_gaussians(const SplitGaussians& a) {
  parallel_for(a.count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* position = a.positions + 3 * i;
      float* log_scale = a.log_scales + 3 * i;
      Vector sample;
      for (size_t axis = 0; axis < 3; ++axis)
        sample[axis] = portable::exp(static_cast<double>(log_scale[axis])) *
                       static_cast<double>(a.normals[3 * i + static_cast<int64_t>(axis)]);
      const Vector offset = rotate(a.quaternions + 4 * i, sample);
      std::array<float, 3> place;
      for (size_t axis = 0; axis < 3; ++axis)
        place[axis] = static_cast<float>(static_cast<double>(position[axis]) + offset[axis]);
      if (std::all_of(place.begin(), place.end(), [](float value) { return std::isfinite(value); }))
        std::copy(place.begin(), place.end(), position);
      for (size_t axis = 0; axis < 3; ++axis) log_scale[axis] -= kSplitLogScale;
    }
  });
}

}  // namespace eg4d::cpu
