#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/resize_picture.cpp"
#include "backend/cpu/simd_targets.h"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <vector>

#include "backend/cpu/simd-inl.h"
#include "backend/cpu/splat_kernels.h"
#include "backend/cpu/thread_scratch.h"
#include "core/threads.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {
namespace {

template <class D>
HWY_INLINE hn::Vec<D> load_bytes(D d, const uint8_t* bytes) {
  const hn::Rebind<int32_t, D> di;
  const hn::Rebind<uint8_t, D> du;
  return hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(du, bytes)));
}

// out = (upper·(1-weight) + lower·weight)/255
void blend_rows(const uint8_t* upper, const uint8_t* lower, float weight, int64_t count, float* out) {
  for_lanes(count, [&](auto d, int64_t i) HWY_ATTR {
    const auto top = load_bytes(d, upper + i), bottom = load_bytes(d, lower + i);
    const auto blended = hn::MulAdd(hn::Set(d, weight), hn::Sub(bottom, top), top);
    hn::StoreU(hn::Div(blended, hn::Set(d, 255.0f)), d, out + i);
  });
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eg4d::cpu {

HWY_EXPORT(blend_rows);

namespace {

// Where output pixel `at` falls between two input pixels: centres are aligned, outside is clamped.
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
  const auto& [pixels, width, height] = *r.picture;
  const int64_t row = int64_t{width} * 3, out_row = int64_t{r.out_width} * 3;
  std::vector<Tap> columns;
  for (int x = 0; x < r.out_width && width != r.out_width; ++x) columns.push_back(tap(x, width, r.out_width));
  parallel_for(r.out_height, 4, [&, pixels = pixels, height = height](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y) {
      const Tap v = tap(static_cast<int>(y), height, r.out_height);
      float* out = r.out + y * out_row;
      float* blended = columns.empty() ? out : scratch(0, row);
      HWY_DYNAMIC_DISPATCH(blend_rows)
      (pixels + v.low * row, pixels + v.high * row, v.weight, row, blended);
      for (const Tap& h : columns)
        for (int c = 0; c < 3; ++c) {
          const float left = blended[h.low * 3 + c];
          *out++ = left + (blended[h.high * 3 + c] - left) * h.weight;
        }
    }
  });
}

}  // namespace eg4d::cpu
#endif
