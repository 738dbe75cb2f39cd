#include <algorithm>

#include "backend/cpu/splat_kernels.h"
#include "core/threads.h"

namespace eg4d::cpu {
namespace {

// Bilinear sample position of output pixel `at`: pixel centres are aligned, outside is clamped.
struct Tap {
  int low, high;
  float weight;  // of high
};
Tap tap(int at, int size, int out_size) {
  const float scale = static_cast<float>(size) / static_cast<float>(out_size);
  const float position = std::max((static_cast<float>(at) + 0.5f) * scale - 0.5f, 0.0f);
  const int low = std::min(static_cast<int>(position), size - 1);
  return {low, std::min(low + 1, size - 1), position - static_cast<float>(low)};
}

}  // namespace

void resize_picture(const ResizePicture& r) {
  constexpr float kScale = 1.0f / 255;
  parallel_for(r.out_height, 16, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y) {
      float* out = r.out + y * r.out_width * 3;
      if (r.width == r.out_width && r.height == r.out_height) {
        const uint8_t* row = r.picture + y * r.width * 3;
        for (int i = 0; i < r.width * 3; ++i) out[i] = static_cast<float>(row[i]) / 255;
        continue;
      }
      const Tap v = tap(static_cast<int>(y), r.height, r.out_height);
      const uint8_t* upper = r.picture + int64_t{v.low} * r.width * 3;
      const uint8_t* lower = r.picture + int64_t{v.high} * r.width * 3;
      for (int x = 0; x < r.out_width; ++x) {
        const Tap h = tap(x, r.width, r.out_width);
        for (int c = 0; c < 3; ++c) {
          const float top = upper[h.low * 3 + c] * (1 - h.weight) + upper[h.high * 3 + c] * h.weight;
          const float bottom = lower[h.low * 3 + c] * (1 - h.weight) + lower[h.high * 3 + c] * h.weight;
          out[x * 3 + c] = (top * (1 - v.weight) + bottom * v.weight) * kScale;
        }
      }
    }
  });
}

}  // namespace eg4d::cpu
