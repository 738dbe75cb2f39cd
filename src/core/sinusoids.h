#pragma once

#include <cmath>

namespace eg4d {

// The cosines, then the sines, of value·10000^(-i/half), i < half = width/2 (Vaswani et al. 2017, as
// diffusion networks take a time step). out: [width], of which an odd width's last is not written.
inline void write_sinusoids(float value, int width, float* out) {
  const int half = width / 2;
  for (int i = 0; i < half; ++i) {
    const float frequency =
        std::exp(static_cast<float>(-std::log(10000.0)) * static_cast<float>(i) / static_cast<float>(half));
    const float angle = value * frequency;
    out[i] = std::cos(angle);
    out[half + i] = std::sin(angle);
  }
}

}  // namespace eg4d
