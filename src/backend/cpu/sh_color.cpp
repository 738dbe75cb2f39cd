#include <algorithm>
#include <cmath>

#include "backend/cpu/splat_kernels.h"
#include "core/threads.h"

namespace eg4d::cpu {
namespace {

constexpr int kBasis = 16;

int basis_count(int degree) {
  return (degree + 1) * (degree + 1);
}

// Real spherical harmonics of degree 0…3 at the unit vector (x, y, z), in the order and sign convention of 3D
// Gaussian splatting.
void basis(int degree, float x, float y, float z, float out[kBasis]) {
  out[0] = 0.28209479177387814f;
  if (degree < 1) return;
  out[1] = -0.4886025119029199f * y;
  out[2] = 0.4886025119029199f * z;
  out[3] = -0.4886025119029199f * x;
  if (degree < 2) return;
  const float xx = x * x, yy = y * y, zz = z * z;
  out[4] = 1.0925484305920792f * x * y;
  out[5] = -1.0925484305920792f * y * z;
  out[6] = 0.31539156525252005f * (2 * zz - xx - yy);
  out[7] = -1.0925484305920792f * x * z;
  out[8] = 0.5462742152960396f * (xx - yy);
  if (degree < 3) return;
  out[9] = -0.5900435899266435f * y * (3 * xx - yy);
  out[10] = 2.890611442640554f * x * y * z;
  out[11] = -0.4570457994644658f * y * (4 * zz - xx - yy);
  out[12] = 0.3731763325901154f * z * (2 * zz - 3 * xx - 3 * yy);
  out[13] = -0.4570457994644658f * x * (4 * zz - xx - yy);
  out[14] = 1.445305721320277f * z * (xx - yy);
  out[15] = -0.5900435899266435f * x * (xx - 3 * yy);
}

// Derivatives of the basis along x, y and z.
void basis_gradient(int degree, float x, float y, float z, float out[kBasis][3]) {
  for (int k = 0; k < kBasis; ++k) out[k][0] = out[k][1] = out[k][2] = 0;
  if (degree < 1) return;
  const auto set = [&](int k, float factor, float along_x, float along_y, float along_z) {
    out[k][0] = factor * along_x;
    out[k][1] = factor * along_y;
    out[k][2] = factor * along_z;
  };
  set(1, -0.4886025119029199f, 0, 1, 0);
  set(2, 0.4886025119029199f, 0, 0, 1);
  set(3, -0.4886025119029199f, 1, 0, 0);
  if (degree < 2) return;
  set(4, 1.0925484305920792f, y, x, 0);
  set(5, -1.0925484305920792f, 0, z, y);
  set(6, 0.31539156525252005f, -2 * x, -2 * y, 4 * z);
  set(7, -1.0925484305920792f, z, 0, x);
  set(8, 0.5462742152960396f, 2 * x, -2 * y, 0);
  if (degree < 3) return;
  const float xx = x * x, yy = y * y, zz = z * z;
  set(9, -0.5900435899266435f, 6 * x * y, 3 * (xx - yy), 0);
  set(10, 2.890611442640554f, y * z, x * z, x * y);
  set(11, -0.4570457994644658f, -2 * x * y, 4 * zz - xx - 3 * yy, 8 * y * z);
  set(12, 0.3731763325901154f, -6 * x * z, -6 * y * z, 6 * zz - 3 * xx - 3 * yy);
  set(13, -0.4570457994644658f, 4 * zz - 3 * xx - yy, -2 * x * y, 8 * x * z);
  set(14, 1.445305721320277f, 2 * x * z, -2 * y * z, xx - yy);
  set(15, -0.5900435899266435f, 3 * (xx - yy), -6 * x * y, 0);
}

struct Direction {
  float x, y, z, length;
};
Direction view_direction(const ShColor& a, int64_t i) {
  const float* p = a.positions + 3 * i;
  const float x = p[0] - a.camera_center[0], y = p[1] - a.camera_center[1], z = p[2] - a.camera_center[2];
  const float length = std::sqrt(x * x + y * y + z * z);
  const float scale = length > 0 ? 1 / length : 0;
  return {x * scale, y * scale, z * scale, length};
}

const float* coefficient(const ShColor& a, int64_t i, int k) {
  return k == 0 ? a.sh_dc + 3 * i : a.sh_rest + 45 * i + 3 * (k - 1);
}

float harmonics(const ShColor& a, int64_t i, const float* values, int channel) {
  float sum = 0;
  for (int k = 0; k < basis_count(a.degree); ++k) sum += values[k] * coefficient(a, i, k)[channel];
  return sum;
}

void backward_one(const ShColor& a, int64_t i) {
  const Direction v = view_direction(a, i);
  float values[kBasis], along[kBasis][3];
  basis(a.degree, v.x, v.y, v.z, values);
  basis_gradient(a.degree, v.x, v.y, v.z, along);
  const float* gain_bias = a.gain_bias ? a.gain_bias + 4 * i : nullptr;
  float d_direction[3] = {}, d_gain = 0;
  for (int channel = 0; channel < 3; ++channel) {
    if (a.colors[3 * i + channel] <= 0) continue;
    const float d_color = a.d_colors[3 * i + channel];
    if (gain_bias && a.d_gain_bias) {
      d_gain += d_color * harmonics(a, i, values, channel);
      a.d_gain_bias[4 * i + 1 + channel] += d_color;
    }
    const float d_sh = gain_bias ? d_color * (1 + gain_bias[0]) : d_color;
    if (a.d_sh_dc) a.d_sh_dc[3 * i + channel] += values[0] * d_sh;
    for (int k = 1; k < basis_count(a.degree); ++k) {
      if (a.d_sh_rest) a.d_sh_rest[45 * i + 3 * (k - 1) + channel] += values[k] * d_sh;
      const float weight = d_sh * coefficient(a, i, k)[channel];
      for (int axis = 0; axis < 3; ++axis) d_direction[axis] += along[k][axis] * weight;
    }
  }
  if (gain_bias && a.d_gain_bias) a.d_gain_bias[4 * i] += d_gain;
  if (a.d_positions && v.length > 0) {
    const float radial = d_direction[0] * v.x + d_direction[1] * v.y + d_direction[2] * v.z;
    const float direction[3] = {v.x, v.y, v.z};
    for (int axis = 0; axis < 3; ++axis)
      a.d_positions[3 * i + axis] += (d_direction[axis] - radial * direction[axis]) / v.length;
  }
}

}  // namespace

void sh_color_forward(const ShColor& a) {
  parallel_for(a.count, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Direction v = view_direction(a, i);
      float values[kBasis];
      basis(a.degree, v.x, v.y, v.z, values);
      for (int channel = 0; channel < 3; ++channel) {
        float color = harmonics(a, i, values, channel);
        if (a.gain_bias) color = color * (1 + a.gain_bias[4 * i]) + a.gain_bias[4 * i + 1 + channel];
        a.colors[3 * i + channel] = std::max(color + 0.5f, 0.0f);
      }
    }
  });
}

void sh_color_backward(const ShColor& a) {
  parallel_for(a.count, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) backward_one(a, i);
  });
}

}  // namespace eg4d::cpu
