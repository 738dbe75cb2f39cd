#pragma once

// From a Gaussian in the world to its ellipse in the image: what both directions of the projection compute
// alike. Every fused multiply-add is written out and its files are compiled with -fmad=false, so that the CPU
// backend's roundings, and with them its radii, are kept.

#include "backend/cuda/rasterizer_kernels.cuh"

namespace eg4d::cuda {

inline constexpr float kNear = 0.2f, kLowPass = 0.3f, kDiscriminantFloor = 0.1f, kTangentMargin = 1.3f;
inline constexpr float kClipGuard = 1e-7f;

// Column k of the first three rows of a row-major 4×4 matrix, times a.
__device__ inline float column(const Vector3& a, const float* m, int k) {
  return fmaf(a.x, m[k], fmaf(a.y, m[4 + k], a.z * m[8 + k]));
}

struct Symmetric3 {
  float xx, xy, xz, yy, yz, zz;
};
__device__ inline Vector3 operator*(const Symmetric3& s, const Vector3& v) {
  return {dot({s.xx, s.xy, s.xz}, v), dot({s.xy, s.yy, s.yz}, v), dot({s.xz, s.yz, s.zz}, v)};
}

struct Symmetric2 {
  float xx, xy, yy;
  __device__ float determinant() const { return fmaf(-xy, xy, xx * yy); }
};

struct Quaternion {
  float w, x, y, z;
};

struct Rotation {
  Vector3 column[3];
};
__device__ inline Rotation rotation_of(const Quaternion& q) {
  const float xx = q.x * q.x, yy = q.y * q.y, zz = q.z * q.z;
  const float xy = q.x * q.y, xz = q.x * q.z, yz = q.y * q.z;
  const float wx = q.w * q.x, wy = q.w * q.y, wz = q.w * q.z;
  return {{{fmaf(-2.0f, yy + zz, 1.0f), 2 * (xy + wz), 2 * (xz - wy)},
           {2 * (xy - wz), fmaf(-2.0f, xx + zz, 1.0f), 2 * (yz + wx)},
           {2 * (xz + wy), 2 * (yz - wx), fmaf(-2.0f, xx + yy, 1.0f)}}};
}

// Σ = M·Mᵀ, M = R·diag(scale).
__device__ inline Symmetric3 covariance_of(const Rotation& r, const Vector3& scale) {
  const Vector3 a = scaled(r.column[0], scale.x), b = scaled(r.column[1], scale.y),
                c = scaled(r.column[2], scale.z);
  const Vector3 x{a.x, b.x, c.x}, y{a.y, b.y, c.y}, z{a.z, b.z, c.z};
  return {dot(x, x), dot(x, y), dot(x, z), dot(y, y), dot(y, z), dot(z, z)};
}

// The mean in view space and the local affine approximation of the projection there.
struct View {
  Vector3 mean;
  float inverse_z;
  float tangent_x, tangent_y;  // clamped
  bool free_x, free_y;         // not clamped
  Vector3 t0, t1;              // rows of jacobian · rotation
  float focal_x, focal_y;
};
__device__ inline View view_of(const RasterizeCamera& camera, int width, int height, const Vector3& mean) {
  const float* w = camera.world_to_view;
  View v;
  v.mean = {column(mean, w, 0) + w[12], column(mean, w, 1) + w[13], column(mean, w, 2) + w[14]};
  v.inverse_z = 1 / v.mean.z;
  v.focal_x = width / (2 * camera.tan_fov_x);
  v.focal_y = height / (2 * camera.tan_fov_y);
  const float limit_x = kTangentMargin * camera.tan_fov_x, limit_y = kTangentMargin * camera.tan_fov_y;
  const float tangent_x = v.mean.x * v.inverse_z, tangent_y = v.mean.y * v.inverse_z;
  v.free_x = fabsf(tangent_x) <= limit_x;
  v.free_y = fabsf(tangent_y) <= limit_y;
  v.tangent_x = fminf(fmaxf(tangent_x, -limit_x), limit_x);
  v.tangent_y = fminf(fmaxf(tangent_y, -limit_y), limit_y);
  const float scale_x = v.focal_x * v.inverse_z, scale_y = v.focal_y * v.inverse_z;
  v.t0 = scaled(
      {fmaf(-v.tangent_x, w[2], w[0]), fmaf(-v.tangent_x, w[6], w[4]), fmaf(-v.tangent_x, w[10], w[8])},
      scale_x);
  v.t1 = scaled(
      {fmaf(-v.tangent_y, w[2], w[1]), fmaf(-v.tangent_y, w[6], w[5]), fmaf(-v.tangent_y, w[10], w[9])},
      scale_y);
  return v;
}

struct Clip {
  float x, y, inverse_w;
};
__device__ inline Clip clip_of(const RasterizeCamera& camera, const Vector3& mean) {
  const float* m = camera.full_projection;
  const float w = column(mean, m, 3) + m[15];
  return {column(mean, m, 0) + m[12], column(mean, m, 1) + m[13], 1 / (w + kClipGuard)};
}

__device__ inline Symmetric2 covariance_2d(const View& v, const Symmetric3& s) {
  const Vector3 s0 = s * v.t0, s1 = s * v.t1;
  return {dot(v.t0, s0) + kLowPass, dot(v.t0, s1), dot(v.t1, s1) + kLowPass};
}

struct Shape {
  Rotation rotation;
  Vector3 scale;
  Quaternion quaternion;
  Symmetric3 covariance;
};
__device__ inline Shape load_shape(const RasterizeForward& f, int64_t i) {
  Shape shape;
  const float* q = f.rotations + 4 * i;
  shape.quaternion = {q[0], q[1], q[2], q[3]};
  shape.rotation = rotation_of(shape.quaternion);
  shape.scale = load3(f.scales, i);
  shape.covariance = covariance_of(shape.rotation, shape.scale);
  return shape;
}

}  // namespace eg4d::cuda
