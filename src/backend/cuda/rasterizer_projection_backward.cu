// One Gaussian a thread: the sum of its partial sums, then back through the projection.

#include <initializer_list>

#include "backend/cuda/check.h"
#include "backend/cuda/gaussian_projection.cuh"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = 128;
// The partial sums of a Gaussian with more pairs than this are the whole warp's work.
constexpr uint32_t kManyPairs = 64;

struct Sums {
  float value[kPartialSums];
};

// Every `step`-th of the slots from `slot` on and before `end`, in their order. Several are under way at a
// time.
__device__ void add_partials(const RasterizerWorkspace& w, uint32_t slot, uint32_t end, uint32_t step,
                             Sums& sums) {
  constexpr int kTogether = 4;
  for (; slot < end; slot += kTogether * step) {
    bool there[kTogether];
    float4 a[kTogether], b[kTogether];
    float c[kTogether];
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      const uint32_t own = slot + static_cast<uint32_t>(j) * step;
      there[j] = own < end && w.touched[own];
    }
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      if (!there[j]) continue;
      const float* from = w.partial + (slot + static_cast<int64_t>(j) * step) * kPartial;
      a[j] = reinterpret_cast<const float4*>(from)[0];
      b[j] = reinterpret_cast<const float4*>(from)[1];
      c[j] = from[8];
    }
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      if (!there[j]) continue;
      const float values[kPartialSums] = {a[j].x, a[j].y, a[j].z, a[j].w, b[j].x,
                                          b[j].y, b[j].z, b[j].w, c[j]};
#pragma unroll
      for (int k = 0; k < kPartialSums; ++k) sums.value[k] += values[k];
    }
  }
}

// Of each lane's Gaussian, in the order of its cells; of large ones every 32nd pair, then over the lanes. All
// lanes call it.
__device__ Sums sum_partials(const RasterizerWorkspace& w, uint32_t first, uint32_t pairs, int lane) {
  Sums sums{};
  const bool many = pairs > kManyPairs;
  if (!many) add_partials(w, first, first + pairs, 1, sums);
  for (unsigned left = __ballot_sync(kAllLanes, many); left != 0; left &= left - 1) {
    const int from = __ffs(static_cast<int>(left)) - 1;
    const uint32_t begin = __shfl_sync(kAllLanes, first, from), count = __shfl_sync(kAllLanes, pairs, from);
    Sums part{};
    add_partials(w, begin + static_cast<uint32_t>(lane), begin + count, kWarp, part);
#pragma unroll
    for (int k = 0; k < kPartialSums; ++k) {
      for (int step = kWarp / 2; step > 0; step /= 2)
        part.value[k] += __shfl_xor_sync(kAllLanes, part.value[k], step);
    }
    if (lane == from) sums = part;
  }
  return sums;
}

// From the conic Q to the covariance it is the inverse of: -Q·G·Q with G the derivative as a matrix; entry xy
// stands for two equal ones.
__device__ Symmetric2 conic_backward(const Symmetric2& q, const Symmetric2& d_q) {
  const float half_xy = 0.5f * d_q.xy;
  const float ax = fmaf(d_q.xx, q.xx, half_xy * q.xy), ay = fmaf(half_xy, q.xx, d_q.yy * q.xy);
  const float bx = fmaf(d_q.xx, q.xy, half_xy * q.yy), by = fmaf(half_xy, q.xy, d_q.yy * q.yy);
  return {fmaf(-q.xx, ax, -(q.xy * ay)), -2 * fmaf(q.xx, bx, q.xy * by), fmaf(-q.xy, bx, -(q.yy * by))};
}

// The mean moves the splat in the image (d_ndc) and changes the projection's jacobian (through d_c).
__device__ Vector3 mean_backward(const RasterizeCamera& camera, const Vector3& mean, const View& v,
                                 const Symmetric3& s, const Symmetric2& d_c, float2 d_ndc) {
  const Vector3 s0 = s * v.t0, s1 = s * v.t1;
  const float twice_xx = d_c.xx + d_c.xx, twice_yy = d_c.yy + d_c.yy;
  const Vector3 d_t0{fmaf(twice_xx, s0.x, d_c.xy * s1.x), fmaf(twice_xx, s0.y, d_c.xy * s1.y),
                     fmaf(twice_xx, s0.z, d_c.xy * s1.z)};
  const Vector3 d_t1{fmaf(twice_yy, s1.x, d_c.xy * s0.x), fmaf(twice_yy, s1.y, d_c.xy * s0.y),
                     fmaf(twice_yy, s1.z, d_c.xy * s0.z)};
  const float *w = camera.world_to_view, *m = camera.full_projection;
  // The jacobian is focal_x/z·(1, 0, -tangent_x), focal_y/z·(0, 1, -tangent_y). As published, a clamped
  // coordinate counts as a constant x = tangent·z.
  const float inverse_z2 = v.inverse_z * v.inverse_z;
  const float along_x = v.focal_x * inverse_z2, along_y = v.focal_y * inverse_z2;
  const float d_j02 = along_x * column(d_t0, w, 2), d_j12 = along_y * column(d_t1, w, 2);
  const float d_j00 = along_x * column(d_t0, w, 0), d_j11 = along_y * column(d_t1, w, 1);
  const float twice = 2 * fmaf(v.tangent_x, d_j02, v.tangent_y * d_j12);
  const Vector3 d_view{v.free_x ? -d_j02 : 0, v.free_y ? -d_j12 : 0, twice - (d_j00 + d_j11)};
  const Clip clip = clip_of(camera, mean);
  const float d_x = d_ndc.x * clip.inverse_w, d_y = d_ndc.y * clip.inverse_w;
  const Vector3 d_clip{d_x, d_y, -(fmaf(clip.x, d_x, clip.y * d_y) * clip.inverse_w)};
  const auto along = [&](int k) {
    return dot({w[4 * k], w[4 * k + 1], w[4 * k + 2]}, d_view) +
           dot({m[4 * k], m[4 * k + 1], m[4 * k + 3]}, d_clip);
  };
  return {along(0), along(1), along(2)};
}

// With respect to the six entries of the 3D covariance; those off the diagonal stand for two equal ones.
__device__ Symmetric3 covariance_backward(const View& v, const Symmetric2& d_c) {
  const Vector3 &a = v.t0, &b = v.t1;
  const auto entry = [&](float a0, float a1, float b0, float b1) {
    const float both = fmaf(d_c.xx * a0, a1, d_c.yy * b0 * b1);
    return fmaf(2.0f, both, d_c.xy * fmaf(a0, b1, a1 * b0));
  };
  return {0.5f * entry(a.x, a.x, b.x, b.x), entry(a.x, a.y, b.x, b.y), entry(a.x, a.z, b.x, b.z),
          0.5f * entry(a.y, a.y, b.y, b.y), entry(a.y, a.z, b.y, b.z), 0.5f * entry(a.z, a.z, b.z, b.z)};
}

// Unlike the others, of any length.
__device__ void add(float* row, std::initializer_list<float> values) {
  for (const float value : values) *row++ += value;
}

__device__ void rotation_backward(const Quaternion& q, const Vector3 (&d_r)[3], float* d_rotation) {
  const float x_turn = d_r[1].z - d_r[2].y, y_turn = d_r[2].x - d_r[0].z, z_turn = d_r[0].y - d_r[1].x;
  const float xy = d_r[1].x + d_r[0].y, xz = d_r[2].x + d_r[0].z, yz = d_r[2].y + d_r[1].z;
  const float xx = 2 * (d_r[1].y + d_r[2].z), yy = 2 * (d_r[0].x + d_r[2].z), zz = 2 * (d_r[0].x + d_r[1].y);
  add(d_rotation, {2 * dot({q.x, q.y, q.z}, {x_turn, y_turn, z_turn}),
                   2 * fmaf(-q.x, xx, dot({q.y, q.z, q.w}, {xy, xz, x_turn})),
                   2 * fmaf(-q.y, yy, dot({q.x, q.z, q.w}, {xy, yz, y_turn})),
                   2 * fmaf(-q.z, zz, dot({q.x, q.y, q.w}, {xz, yz, z_turn}))});
}

__device__ void shape_backward(const RasterizeBackward& b, const Shape& shape, const Symmetric3& d_s, int i) {
  const Symmetric3 twice{2 * d_s.xx, d_s.xy, d_s.xz, 2 * d_s.yy, d_s.yz, 2 * d_s.zz};
  const Vector3* r = shape.rotation.column;
  const float scale[3] = {shape.scale.x, shape.scale.y, shape.scale.z};
  float d_scale[3];
  Vector3 d_r[3];  // columns
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    const Vector3 d_m = twice * scaled(r[k], scale[k]);
    d_scale[k] = dot(d_m, r[k]);
    d_r[k] = scaled(d_m, scale[k]);
  }
  if (b.d_scales) add3(b.d_scales, i, {d_scale[0], d_scale[1], d_scale[2]});
  if (b.d_rotations) rotation_backward(shape.quaternion, d_r, b.d_rotations + 4 * int64_t{i});
}

__device__ void project_one_backward(const RasterizeBackward& b, const RasterizeCamera& camera,
                                     const RasterizerSize& size, const float (&sums)[kPartialSums], int i) {
  const RasterizeForward& f = b.forward;
  if (b.d_colors) add3(b.d_colors, i, {sums[kWr], sums[kWg], sums[kWb]});
  if (b.d_opacities) b.d_opacities[i] += sums[kG] / f.opacities[i];
  const Vector3 mean = load3(f.means, i);
  const View v = view_of(camera, size.width, size.height, mean);
  const Shape shape = load_shape(f, i);
  const Symmetric2 c = covariance_2d(v, shape.covariance);
  const float inverse = 1 / c.determinant();
  const Symmetric2 conic{c.yy * inverse, -(c.xy * inverse), c.xx * inverse};
  const float d_x = fmaf(-conic.xx, sums[kGx], -(conic.xy * sums[kGy]));
  const float d_y = fmaf(-conic.xy, sums[kGx], -(conic.yy * sums[kGy]));
  const float2 d_ndc = make_float2(d_x * (0.5f * size.width), d_y * (0.5f * size.height));
  if (b.d_means_ndc) add(b.d_means_ndc + 2 * int64_t{i}, {d_ndc.x, d_ndc.y});
  const Symmetric2 d_c = conic_backward(conic, {-0.5f * sums[kGxx], -sums[kGxy], -0.5f * sums[kGyy]});
  if (b.d_means) add3(b.d_means, i, mean_backward(camera, mean, v, shape.covariance, d_c, d_ndc));
  shape_backward(b, shape, covariance_backward(v, d_c), i);
}

__global__ void __launch_bounds__(kThreads)
    project_backward_kernel(RasterizeBackward b, RasterizerWorkspace w) {
  const int i = static_cast<int>(blockIdx.x * kThreads + threadIdx.x), lane = i % kWarp;
  uint32_t first = 0, pairs = 0;
  if (i < b.forward.count) pairs = w.cell_count[i];
  if (pairs > 0) {
    const auto capacity = static_cast<uint32_t>(w.size.pair_capacity);
    first = min(w.first_slot[i], capacity);
    pairs = min(pairs, capacity - first);  // when they overflowed
  }
  const Sums sums = sum_partials(w, first, pairs, lane);
  if (pairs > 0) project_one_backward(b, *b.forward.camera, w.size, sums.value, i);
}

}  // namespace

void project_backward(const RasterizeBackward& backward, const RasterizerWorkspace& workspace,
                      cudaStream_t stream) {
  project_backward_kernel<<<blocks_for(backward.forward.count, kThreads), kThreads, 0, stream>>>(backward,
                                                                                                 workspace);
  check_launch("projecting backwards");
}

}  // namespace eg4d::cuda
