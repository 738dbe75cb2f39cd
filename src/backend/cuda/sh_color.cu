// Spherical-harmonics colours, one Gaussian a thread. The 45 coefficients of a Gaussian lie side by side, so
// a block carries those of its Gaussians through shared memory: memory is read and written in one go, and a
// thread's own row of 45 (odd) keeps to its banks.

#include "backend/cuda/check.h"
#include "backend/cuda/gaussian_rows.cuh"
#include "backend/cuda/splat_kernels.h"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kBasis = 16;
constexpr int kRest = 45;  // coefficients of a Gaussian beyond the first of each channel, channels innermost

__device__ int basis_count(int degree) {
  return (degree + 1) * (degree + 1);
}

// Real spherical harmonics of degree 0…3 at unit vectors, in the order and sign convention of 3D Gaussian
// splatting. Those beyond the degree are 0.
__device__ void basis(int degree, const Vector3& v, float (&b)[kBasis]) {
  const float x = v.x, y = v.y, z = v.z;
#pragma unroll
  for (int k = 1; k < kBasis; ++k) b[k] = 0;
  b[0] = 0.28209479177387814f;
  if (degree < 1) return;
  b[1] = -0.4886025119029199f * y;
  b[2] = 0.4886025119029199f * z;
  b[3] = -0.4886025119029199f * x;
  if (degree < 2) return;
  const float xx = x * x, yy = y * y, zz = z * z, difference = xx - yy, sum = xx + yy;
  b[4] = 1.0925484305920792f * x * y;
  b[5] = -1.0925484305920792f * y * z;
  b[6] = 0.31539156525252005f * (zz + zz - sum);
  b[7] = -1.0925484305920792f * x * z;
  b[8] = 0.5462742152960396f * difference;
  if (degree < 3) return;
  const float five = 4 * zz - sum;  // 5z² - 1
  b[9] = -0.5900435899266435f * y * (3 * xx - yy);
  b[10] = 2.890611442640554f * x * y * z;
  b[11] = -0.4570457994644658f * y * five;
  b[12] = 0.3731763325901154f * z * (zz + zz - 3 * sum);
  b[13] = -0.4570457994644658f * x * five;
  b[14] = 1.445305721320277f * z * difference;
  b[15] = -0.5900435899266435f * x * (xx - 3 * yy);
}

// Sum over k of weight[k] times the gradient of the k-th basis function.
__device__ Vector3 basis_backward(int degree, const Vector3& v, const float (&weight)[kBasis]) {
  const float x = v.x, y = v.y, z = v.z;
  Vector3 d{0, 0, 0};
  if (degree < 1) return d;
  d = {-0.4886025119029199f * weight[3], -0.4886025119029199f * weight[1], 0.4886025119029199f * weight[2]};
  if (degree < 2) return d;
  const auto add = [&](int k, float factor, const Vector3& along) {
    const float w = factor * weight[k];
    d = {fmaf(w, along.x, d.x), fmaf(w, along.y, d.y), fmaf(w, along.z, d.z)};
  };
  add(4, 1.0925484305920792f, {y, x, 0});
  add(5, -1.0925484305920792f, {0, z, y});
  add(6, 0.31539156525252005f, {-2 * x, -2 * y, 4 * z});
  add(7, -1.0925484305920792f, {z, 0, x});
  add(8, 0.5462742152960396f, {2 * x, -2 * y, 0});
  if (degree < 3) return d;
  const float xx = x * x, yy = y * y, zz = z * z, difference = xx - yy, xy = x * y, xz = x * z, yz = y * z;
  add(9, -0.5900435899266435f, {6 * xy, 3 * difference, 0});
  add(10, 2.890611442640554f, {yz, xz, xy});
  add(11, -0.4570457994644658f, {-2 * xy, 4 * zz - xx - 3 * yy, 8 * yz});
  add(12, 0.3731763325901154f, {-6 * xz, -6 * yz, 3 * (zz + zz - xx - yy)});
  add(13, -0.4570457994644658f, {4 * zz - yy - 3 * xx, -2 * xy, 8 * xz});
  add(14, 1.445305721320277f, {2 * x * z, -2 * y * z, difference});
  add(15, -0.5900435899266435f, {3 * difference, -6 * xy, 0});
  return d;
}

struct Direction {
  Vector3 unit;
  float inverse_length;  // 0 for a Gaussian at the camera
};
__device__ Direction view_direction(const float* positions, const float* center, int i) {
  const Vector3 position = load3(positions, i);
  const Vector3 v{position.x - center[0], position.y - center[1], position.z - center[2]};
  const float square = dot(v, v);
  const float inverse = square > 0 ? 1 / sqrtf(square) : 0;
  return {scaled(v, inverse), inverse};
}

// The block's rows of coefficients.
struct Rows {
  alignas(16) float values[kThreads * kRest];
  __device__ float* own() { return values + threadIdx.x * kRest; }
};

__device__ int64_t first_of_block() {
  return int64_t{blockIdx.x} * kThreads;
}

// visit(i) or visit4(i) for every float of the block's rows, four at a time while they last; i counts from
// the block's first, and so do the pointers that the caller has.
template <class Visit4, class Visit>
__device__ void for_each_float(int64_t count, const Visit4& visit4, const Visit& visit) {
  const int floats = kRest * static_cast<int>(min(int64_t{kThreads}, count - first_of_block()));
  const int fours = floats / 4;
  for (int i = static_cast<int>(threadIdx.x); i < fours; i += kThreads) visit4(i);
  for (int i = 4 * fours + static_cast<int>(threadIdx.x); i < floats; i += kThreads) visit(i);
}

__device__ void load_rows(const float* sh_rest, int64_t count, Rows& rows) {
  const float* from = sh_rest + first_of_block() * kRest;
  for_each_float(
      count,
      [&](int i) { reinterpret_cast<float4*>(rows.values)[i] = reinterpret_cast<const float4*>(from)[i]; },
      [&](int i) { rows.values[i] = from[i]; });
}

__device__ void add_rows(const Rows& rows, int64_t count, float* d_sh_rest) {
  float* to = d_sh_rest + first_of_block() * kRest;
  for_each_float(
      count,
      [&](int i) {
        const float4 more = reinterpret_cast<const float4*>(rows.values)[i];
        float4& sum = reinterpret_cast<float4*>(to)[i];
        sum = make_float4(sum.x + more.x, sum.y + more.y, sum.z + more.z, sum.w + more.w);
      },
      [&](int i) { to[i] += rows.values[i]; });
}

__device__ float plus_half_positive(float color) {
  return fmaxf(color + 0.5f, 0.0f);
}

__global__ void __launch_bounds__(kThreads) forward_kernel(ShColor a) {
  __shared__ Rows rows;
  if (a.degree > 0) load_rows(a.sh_rest, a.count, rows);
  __syncthreads();
  const int64_t i = first_of_block() + threadIdx.x;
  if (i >= a.count) return;
  float b[kBasis];
  basis(a.degree, view_direction(a.positions, a.camera_center, static_cast<int>(i)).unit, b);
  Vector3 color = scaled(load3(a.sh_dc, i), b[0]);
  const float* own = rows.own();
  if (a.degree > 0) {
#pragma unroll
    for (int k = 1; k < kBasis; ++k) {
      if (k >= basis_count(a.degree)) break;
      const float* c = own + 3 * (k - 1);
      color = {fmaf(b[k], c[0], color.x), fmaf(b[k], c[1], color.y), fmaf(b[k], c[2], color.z)};
    }
  }
  if (a.gain_bias) {
    const float4 gain_bias = reinterpret_cast<const float4*>(a.gain_bias)[i];
    const float gain = 1 + gain_bias.x;
    color = {fmaf(gain, color.x, gain_bias.y), fmaf(gain, color.y, gain_bias.z),
             fmaf(gain, color.z, gain_bias.w)};
  }
  store3(a.colors, i,
         {plus_half_positive(color.x), plus_half_positive(color.y), plus_half_positive(color.z)});
}

// One Gaussian; its row of coefficients becomes the row of their gradients.
__device__ void backward_one(const ShColorBackward& d, int64_t i, float* own) {
  const ShColor& a = d.forward;
  const Direction direction = view_direction(a.positions, a.camera_center, static_cast<int>(i));
  float b[kBasis];
  basis(a.degree, direction.unit, b);
  const Vector3 color = load3(a.colors, i);
  Vector3 d_color = load3(d.d_colors, i);
  d_color = {color.x > 0 ? d_color.x : 0, color.y > 0 ? d_color.y : 0, color.z > 0 ? d_color.z : 0};
  const float factor = a.gain_bias ? 1 + a.gain_bias[4 * i] : 1;
  const Vector3 d_sh = scaled(d_color, factor);
  float weight[kBasis], d_gain = b[0] * dot(load3(a.sh_dc, i), d_color);
#pragma unroll
  for (int k = 1; k < kBasis; ++k) {
    weight[k] = 0;
    if (a.degree == 0) continue;
    float* c = own + 3 * (k - 1);
    const float along = dot({c[0], c[1], c[2]}, d_color);
    c[0] = b[k] * d_sh.x;
    c[1] = b[k] * d_sh.y;
    c[2] = b[k] * d_sh.z;
    if (k >= basis_count(a.degree)) continue;
    d_gain = fmaf(b[k], along, d_gain);
    weight[k] = factor * along;
  }
  if (a.gain_bias && d.d_gain_bias) {
    float4& sum = reinterpret_cast<float4*>(d.d_gain_bias)[i];
    sum = make_float4(sum.x + d_gain, sum.y + d_color.x, sum.z + d_color.y, sum.w + d_color.z);
  }
  if (d.d_sh_dc) add3(d.d_sh_dc, i, scaled(d_sh, b[0]));
  if (d.d_positions && a.degree > 0) {
    // Through the normalisation: what lies along the direction has no effect.
    const Vector3 d_unit = basis_backward(a.degree, direction.unit, weight);
    const float along = dot(d_unit, direction.unit);
    const Vector3& u = direction.unit;
    add3(d.d_positions, i,
         scaled({fmaf(-along, u.x, d_unit.x), fmaf(-along, u.y, d_unit.y), fmaf(-along, u.z, d_unit.z)},
                direction.inverse_length));
  }
}

__global__ void __launch_bounds__(kThreads) backward_kernel(ShColorBackward d) {
  const ShColor& a = d.forward;
  __shared__ Rows rows;
  if (a.degree > 0) load_rows(a.sh_rest, a.count, rows);
  __syncthreads();
  const int64_t i = first_of_block() + threadIdx.x;
  if (i < a.count) backward_one(d, i, rows.own());
  if (a.degree == 0 || !d.d_sh_rest) return;
  __syncthreads();
  add_rows(rows, a.count, d.d_sh_rest);
}

}  // namespace

void sh_color_forward(const ShColor& color, cudaStream_t stream) {
  if (color.count == 0) return;
  forward_kernel<<<blocks_for(color.count, kThreads), kThreads, 0, stream>>>(color);
  check_launch("computing colours");
}

void sh_color_backward(const ShColorBackward& backward, cudaStream_t stream) {
  const int64_t count = backward.forward.count;
  if (count == 0) return;
  backward_kernel<<<blocks_for(count, kThreads), kThreads, 0, stream>>>(backward);
  check_launch("computing the gradients of colours");
}

}  // namespace eg4d::cuda
