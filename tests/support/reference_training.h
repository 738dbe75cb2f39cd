#pragma once

// Image losses, picture resizing, Adam and density statistics as their definitions read, for any
// floating-point type.

#include <cstdint>
#include <vector>

namespace eg4d::test {

// Mean SSIM of two images [height,width,3]: 11×11 Gaussian window of sigma 1.5 as one two-dimensional sum,
// zero padding. When d_a is given, the derivative with respect to a is stored there.
template <class T>
T reference_ssim(const std::vector<T>& a, const std::vector<T>& b, int width, int height,
                 std::vector<T>* d_a = nullptr);

// [height,width,3] → [out_height,out_width,3] in [0,1]: bilinear, pixel centres aligned, no antialiasing.
template <class T>
std::vector<T> reference_resize(const std::vector<uint8_t>& picture, int width, int height, int out_width,
                                int out_height);

// One Adam step (Kingma & Ba 2015, algorithm 1) in place.
template <class T>
void reference_adam(std::vector<T>& parameter, const std::vector<T>& gradient, std::vector<T>& first,
                    std::vector<T>& second, int64_t step, double learning_rate, double beta1 = 0.9,
                    double beta2 = 0.999, double epsilon = 1e-15);

}  // namespace eg4d::test
