#pragma once

#include <cmath>
#include <vector>

namespace eg4d {

// `count` numbers from `first` to `last`, evenly spaced, both ends exact. The second half counts back from
// `last`, so that rounding is symmetric (and one per number, as in torch.linspace). One number: `first`.
inline std::vector<float> linear_ramp(float first, float last, int count) {
  std::vector<float> ramp(static_cast<size_t>(count > 0 ? count : 0), first);
  const float step = count > 1 ? (last - first) / static_cast<float>(count - 1) : 0;
  for (int i = 0; i < count; ++i)
    ramp[i] = i < count / 2 || count == 1 ? std::fma(step, static_cast<float>(i), first)
                                          : std::fma(-step, static_cast<float>(count - 1 - i), last);
  return ramp;
}

}  // namespace eg4d
