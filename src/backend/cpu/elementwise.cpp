#include "backend/cpu/splat_kernels.h"
#include "core/threads.h"

namespace eg4d::cpu {

void clamp_above(const ClampAbove& a) {
  parallel_for(a.count, 1 << 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      if (a.values[i] > a.limit) a.values[i] = a.limit;
  });
}

void clamp_unit(const ClampUnit& a) {
  parallel_for(a.count, 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float v = a.values[i];
      a.values[i] = v > 0 ? (v < 1 ? v : 1.0f) : 0.0f;  // NaN fails the first comparison
    }
  });
}

void clamp_unit_backward(const ClampUnitBackward& a) {
  parallel_for(a.count, 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      if (!(a.values[i] >= 0 && a.values[i] <= 1)) a.gradients[i] = 0;
  });
}

void unit_to_bytes(const UnitToBytes& a) {
  parallel_for(a.count, 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float v = a.values[i];
      a.bytes[i] = static_cast<uint8_t>(v > 0 ? (v < 1 ? v * 255 + 0.5f : 255.0f) : 0.0f);  // NaN: 0
    }
  });
}

void move_towards(const MoveTowards& a) {
  parallel_for(a.count, 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) a.to[i] += a.weight * (a.from[i] - a.to[i]);
  });
}

}  // namespace eg4d::cpu
