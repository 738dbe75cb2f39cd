#include "support/reference_sh_color.h"

#include <algorithm>
#include <cmath>

namespace eg4d::test {
namespace {

constexpr int kBasis = 16;

int basis_count(int degree) {
  return (degree + 1) * (degree + 1);
}

// Real spherical harmonics of degree 0…3 at the unit vector (x, y, z), in the order and sign convention of 3D
// Gaussian splatting.
template <class T>
void basis(int degree, T x, T y, T z, T out[kBasis]) {
  out[0] = T(0.28209479177387814);
  if (degree < 1) return;
  out[1] = T(-0.4886025119029199) * y;
  out[2] = T(0.4886025119029199) * z;
  out[3] = T(-0.4886025119029199) * x;
  if (degree < 2) return;
  const T xx = x * x, yy = y * y, zz = z * z;
  out[4] = T(1.0925484305920792) * x * y;
  out[5] = T(-1.0925484305920792) * y * z;
  out[6] = T(0.31539156525252005) * (2 * zz - xx - yy);
  out[7] = T(-1.0925484305920792) * x * z;
  out[8] = T(0.5462742152960396) * (xx - yy);
  if (degree < 3) return;
  out[9] = T(-0.5900435899266435) * y * (3 * xx - yy);
  out[10] = T(2.890611442640554) * x * y * z;
  out[11] = T(-0.4570457994644658) * y * (4 * zz - xx - yy);
  out[12] = T(0.3731763325901154) * z * (2 * zz - 3 * xx - 3 * yy);
  out[13] = T(-0.4570457994644658) * x * (4 * zz - xx - yy);
  out[14] = T(1.445305721320277) * z * (xx - yy);
  out[15] = T(-0.5900435899266435) * x * (xx - 3 * yy);
}

// Derivatives of the basis along x, y and z.
template <class T>
void basis_gradient(int degree, T x, T y, T z, T out[kBasis][3]) {
  for (int k = 0; k < kBasis; ++k) out[k][0] = out[k][1] = out[k][2] = 0;
  if (degree < 1) return;
  const auto set = [&](int k, T factor, T along_x, T along_y, T along_z) {
    out[k][0] = factor * along_x;
    out[k][1] = factor * along_y;
    out[k][2] = factor * along_z;
  };
  set(1, T(-0.4886025119029199), 0, 1, 0);
  set(2, T(0.4886025119029199), 0, 0, 1);
  set(3, T(-0.4886025119029199), 1, 0, 0);
  if (degree < 2) return;
  set(4, T(1.0925484305920792), y, x, 0);
  set(5, T(-1.0925484305920792), 0, z, y);
  set(6, T(0.31539156525252005), -2 * x, -2 * y, 4 * z);
  set(7, T(-1.0925484305920792), z, 0, x);
  set(8, T(0.5462742152960396), 2 * x, -2 * y, 0);
  if (degree < 3) return;
  const T xx = x * x, yy = y * y, zz = z * z;
  set(9, T(-0.5900435899266435), 6 * x * y, 3 * (xx - yy), 0);
  set(10, T(2.890611442640554), y * z, x * z, x * y);
  set(11, T(-0.4570457994644658), -2 * x * y, 4 * zz - xx - 3 * yy, 8 * y * z);
  set(12, T(0.3731763325901154), -6 * x * z, -6 * y * z, 6 * zz - 3 * xx - 3 * yy);
  set(13, T(-0.4570457994644658), 4 * zz - 3 * xx - yy, -2 * x * y, 8 * x * z);
  set(14, T(1.445305721320277), 2 * x * z, -2 * y * z, xx - yy);
  set(15, T(-0.5900435899266435), 3 * (xx - yy), -6 * x * y, 0);
}

template <class T>
struct Direction {
  T axis[3], length;
};

template <class T>
Direction<T> view_direction(const ShScene<T>& scene, int64_t i) {
  Direction<T> v;
  for (int axis = 0; axis < 3; ++axis)
    v.axis[axis] = scene.positions[3 * i + axis] - scene.camera_center[axis];
  v.length = std::hypot(v.axis[0], v.axis[1], v.axis[2]);
  for (T& axis : v.axis) axis = v.length > 0 ? axis / v.length : 0;
  return v;
}

template <class T>
T coefficient(const ShScene<T>& scene, int64_t i, int k, int channel) {
  return k == 0 ? scene.sh_dc[3 * i + channel] : scene.sh_rest[45 * i + 3 * (k - 1) + channel];
}

template <class T>
T harmonics(const ShScene<T>& scene, int64_t i, const T* values, int channel) {
  T sum = 0;
  for (int k = 0; k < basis_count(scene.degree); ++k) sum += values[k] * coefficient(scene, i, k, channel);
  return sum;
}

}  // namespace

template <class T>
std::vector<T> reference_sh_color(const ShScene<T>& scene) {
  std::vector<T> colors(static_cast<size_t>(3 * scene.count));
  for (int64_t i = 0; i < scene.count; ++i) {
    const Direction<T> v = view_direction(scene, i);
    T values[kBasis];
    basis(scene.degree, v.axis[0], v.axis[1], v.axis[2], values);
    for (int channel = 0; channel < 3; ++channel) {
      T color = harmonics(scene, i, values, channel);
      if (!scene.gain_bias.empty())
        color = color * (1 + scene.gain_bias[4 * i]) + scene.gain_bias[4 * i + 1 + channel];
      colors[3 * i + channel] = std::max(color + T(0.5), T(0));
    }
  }
  return colors;
}

template <class T>
ShGradients<T> reference_sh_color_backward(const ShScene<T>& scene, const std::vector<T>& colors,
                                           const std::vector<T>& d_colors) {
  const size_t count = static_cast<size_t>(scene.count);
  ShGradients<T> d;
  d.positions.resize(3 * count);
  d.sh_dc.resize(3 * count);
  d.sh_rest.resize(45 * count);
  d.gain_bias.resize(4 * count);
  for (int64_t i = 0; i < scene.count; ++i) {
    const Direction<T> v = view_direction(scene, i);
    T values[kBasis], along[kBasis][3], d_direction[3] = {};
    basis(scene.degree, v.axis[0], v.axis[1], v.axis[2], values);
    basis_gradient(scene.degree, v.axis[0], v.axis[1], v.axis[2], along);
    const T gain = scene.gain_bias.empty() ? T(0) : scene.gain_bias[4 * i];
    for (int channel = 0; channel < 3; ++channel) {
      if (colors[3 * i + channel] <= 0) continue;
      const T d_color = d_colors[3 * i + channel];
      d.gain_bias[4 * i] += d_color * harmonics(scene, i, values, channel);
      d.gain_bias[4 * i + 1 + channel] = d_color;
      const T d_sh = d_color * (1 + gain);
      d.sh_dc[3 * i + channel] = values[0] * d_sh;
      for (int k = 1; k < basis_count(scene.degree); ++k) {
        d.sh_rest[45 * i + 3 * (k - 1) + channel] = values[k] * d_sh;
        for (int axis = 0; axis < 3; ++axis)
          d_direction[axis] += along[k][axis] * d_sh * coefficient(scene, i, k, channel);
      }
    }
    if (v.length == 0) continue;
    const T radial = d_direction[0] * v.axis[0] + d_direction[1] * v.axis[1] + d_direction[2] * v.axis[2];
    for (int axis = 0; axis < 3; ++axis)
      d.positions[3 * i + axis] = (d_direction[axis] - radial * v.axis[axis]) / v.length;
  }
  return d;
}

template std::vector<float> reference_sh_color(const ShScene<float>&);
template std::vector<double> reference_sh_color(const ShScene<double>&);
template ShGradients<float> reference_sh_color_backward(const ShScene<float>&, const std::vector<float>&,
                                                        const std::vector<float>&);
template ShGradients<double> reference_sh_color_backward(const ShScene<double>&, const std::vector<double>&,
                                                         const std::vector<double>&);

}  // namespace eg4d::test
