#include "backend/cpu/splat_kernels.h"
#include "core/threads.h"

namespace eg4d::cpu {

void clamp_unit(float* values, int64_t count) {
  parallel_for(count, 1 << 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float v = values[i];
      values[i] = v > 0 ? (v < 1 ? v : 1.0f) : 0.0f;  // NaN fails the first comparison
    }
  });
}

void clamp_unit_backward(const float* values, float* gradients, int64_t count) {
  parallel_for(count, 1 << 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      if (!(values[i] >= 0 && values[i] <= 1)) gradients[i] = 0;
  });
}

void move_towards(float* to, const float* from, float weight, int64_t count) {
  parallel_for(count, 1 << 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] += weight * (from[i] - to[i]);
  });
}

}  // namespace eg4d::cpu
