#include "picture/resampling.h"

#include <algorithm>
#include <cmath>

#include "core/threads.h"

namespace eg4d {

Resampling bicubic_resampling(int64_t in, int64_t out, bool align_corners) {
  constexpr float a = -0.75f;
  const auto near = [](float x) { return ((a + 2) * x - (a + 3)) * x * x + 1; };
  const auto far = [](float x) { return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a; };
  const float corner_scale = out > 1 ? static_cast<float>(in - 1) / static_cast<float>(out - 1) : 0,
              scale = static_cast<float>(in) / static_cast<float>(out);
  Resampling r{in, out, 4, {}, {}};
  for (int64_t i = 0; i < out; ++i) {
    const auto at = static_cast<float>(i);
    const float position = align_corners ? corner_scale * at : scale * (at + 0.5f) - 0.5f;
    const float whole = std::floor(position), t = position - whole;
    for (int64_t k = -1; k <= 2; ++k)
      r.index.push_back(std::clamp<int64_t>(static_cast<int64_t>(whole) + k, 0, in - 1));
    for (const float w : {far(t + 1), near(t), near(1 - t), far(2 - t)}) r.weight.push_back(w);
  }
  return r;
}

std::vector<float> resample_rows(const std::vector<float>& x, const Resampling& r, int64_t row) {
  std::vector<float> y(static_cast<size_t>(r.out * row));
  parallel_for(r.out, 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* to = y.data() + i * row;
      for (int64_t k = 0; k < r.taps; ++k) {
        const float weight = r.weight[static_cast<size_t>(i * r.taps + k)];
        const float* from = x.data() + r.index[static_cast<size_t>(i * r.taps + k)] * row;
        for (int64_t c = 0; c < row; ++c) to[c] += weight * from[c];
      }
    }
  });
  return y;
}

std::vector<float> resample_columns(const std::vector<float>& x, const Resampling& r, int64_t channels) {
  const int64_t rows = static_cast<int64_t>(x.size()) / (r.in * channels);
  std::vector<float> y(static_cast<size_t>(rows * r.out * channels));
  parallel_for(rows, 8, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* from = x.data() + row * r.in * channels;
      float* to = y.data() + row * r.out * channels;
      for (int64_t i = 0; i < r.out * r.taps; ++i) {
        const float* pixel = from + r.index[static_cast<size_t>(i)] * channels;
        float* sum = to + i / r.taps * channels;
        for (int64_t c = 0; c < channels; ++c) sum[c] += r.weight[static_cast<size_t>(i)] * pixel[c];
      }
    }
  });
  return y;
}

}  // namespace eg4d
