#pragma once

#include <cstdint>
#include <vector>

namespace eg4d::test {

// What ShColor takes (backend/splat_ops.h), in host memory; gain_bias may be empty.
template <class T>
struct ShScene {
  int64_t count = 0;
  int degree = 0;
  T camera_center[3] = {};
  std::vector<T> positions, sh_dc, sh_rest, gain_bias;
};

template <class T>
struct ShGradients {
  std::vector<T> positions, sh_dc, sh_rest, gain_bias;
};

// The definition of sh_color_forward and sh_color_backward, one Gaussian and one channel at a time.
template <class T>
std::vector<T> reference_sh_color(const ShScene<T>& scene);
template <class T>
ShGradients<T> reference_sh_color_backward(const ShScene<T>& scene, const std::vector<T>& colors,
                                           const std::vector<T>& d_colors);

}  // namespace eg4d::test
