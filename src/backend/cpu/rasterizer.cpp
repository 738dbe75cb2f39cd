#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "backend/cpu/splat_kernels.h"
#include "core/threads.h"

// Splatting of 3D Gaussians: Zwicker et al., "EWA splatting" (2002); Kerbl et al., "3D Gaussian splatting for
// real-time radiance field rendering" (2023).

namespace eg4d::cpu {
namespace {

constexpr int kTile = 16;
constexpr float kNear = 0.2f, kLowPass = 0.3f, kDiscriminantFloor = 0.1f, kTangentMargin = 1.3f;
constexpr float kAlphaMin = 1.0f / 255, kAlphaMax = 0.99f, kTransmittanceMin = 1e-4f;
constexpr float kClipGuard = 1e-7f;

struct Splat {
  float x = 0, y = 0, z = 0;  // pixel, view depth
  float conic[3] = {};        // xx, xy, yy
  float opacity = 0;
  int radius = 0;  // 0 = not visible
  int tile_x0 = 0, tile_x1 = 0, tile_y0 = 0, tile_y1 = 0;
};

struct Context final : RasterizeContext {
  int64_t pair_count() const override { return static_cast<int64_t>(pairs.size()); }
  std::vector<Splat> splats;
  std::vector<int32_t> order;
  std::vector<int64_t> tile_begin;   // [tiles + 1] into pairs
  std::vector<int32_t> pairs;        // Gaussians of each tile, front to back
  std::vector<float> transmittance;  // [H,W] at the end
  std::vector<int32_t> stop;         // [H,W] entries of the tile's list that the pixel looked at
  std::vector<float> d_screen;       // [N,9] pixel x, y, conic xx, xy, yy, opacity, color
};

struct View {
  float p[3];  // view space
  float x_clamped, y_clamped;
  bool x_free, y_free;  // not clamped
  float t0[3], t1[3];   // rows of jacobian · rotation
  float focal_x, focal_y;
};

void rotation_matrix(const float q[4], float r[3][3]) {
  const float w = q[0], x = q[1], y = q[2], z = q[3];
  r[0][0] = 1 - 2 * (y * y + z * z), r[0][1] = 2 * (x * y - w * z), r[0][2] = 2 * (x * z + w * y);
  r[1][0] = 2 * (x * y + w * z), r[1][1] = 1 - 2 * (x * x + z * z), r[1][2] = 2 * (y * z - w * x);
  r[2][0] = 2 * (x * z - w * y), r[2][1] = 2 * (y * z + w * x), r[2][2] = 1 - 2 * (x * x + y * y);
}

// R·diag(modifier·scale): the covariance is this matrix times its transpose.
void scaled_rotation(const RasterizeForward& f, int64_t i, float m[3][3]) {
  rotation_matrix(f.rotations + 4 * i, m);
  for (int k = 0; k < 3; ++k)
    for (int row = 0; row < 3; ++row) m[row][k] *= f.camera.scale_modifier * f.scales[3 * i + k];
}

void covariance_3d(const RasterizeForward& f, int64_t i, float s[6]) {
  if (f.covariances) {
    std::copy_n(f.covariances + 6 * i, 6, s);
    return;
  }
  float m[3][3];
  scaled_rotation(f, i, m);
  int entry = 0;
  for (int row = 0; row < 3; ++row)
    for (int column = row; column < 3; ++column)
      s[entry++] = m[row][0] * m[column][0] + m[row][1] * m[column][1] + m[row][2] * m[column][2];
}

View view_of(const RasterizeForward& f, int64_t i) {
  const RasterizeCamera& camera = f.camera;
  const float* w = camera.world_to_view;
  const float* mean = f.means + 3 * i;
  View v;
  for (int k = 0; k < 3; ++k) v.p[k] = mean[0] * w[k] + mean[1] * w[4 + k] + mean[2] * w[8 + k] + w[12 + k];
  v.focal_x = camera.width / (2 * camera.tan_fov_x);
  v.focal_y = camera.height / (2 * camera.tan_fov_y);
  const float limit_x = kTangentMargin * camera.tan_fov_x, limit_y = kTangentMargin * camera.tan_fov_y;
  const float tangent_x = v.p[0] / v.p[2], tangent_y = v.p[1] / v.p[2];
  v.x_free = tangent_x >= -limit_x && tangent_x <= limit_x;
  v.y_free = tangent_y >= -limit_y && tangent_y <= limit_y;
  v.x_clamped = std::clamp(tangent_x, -limit_x, limit_x) * v.p[2];
  v.y_clamped = std::clamp(tangent_y, -limit_y, limit_y) * v.p[2];
  const float z = v.p[2];
  for (int k = 0; k < 3; ++k) {
    v.t0[k] = v.focal_x / z * (w[4 * k] - v.x_clamped / z * w[4 * k + 2]);
    v.t1[k] = v.focal_y / z * (w[4 * k + 1] - v.y_clamped / z * w[4 * k + 2]);
  }
  return v;
}

void times_symmetric(const float s[6], const float v[3], float out[3]) {
  out[0] = s[0] * v[0] + s[1] * v[1] + s[2] * v[2];
  out[1] = s[1] * v[0] + s[3] * v[1] + s[4] * v[2];
  out[2] = s[2] * v[0] + s[4] * v[1] + s[5] * v[2];
}
float dot(const float a[3], const float b[3]) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

struct Covariance2 {
  float xx, xy, yy;
};
Covariance2 covariance_2d(const View& v, const float s[6]) {
  float s0[3], s1[3];
  times_symmetric(s, v.t0, s0);
  times_symmetric(s, v.t1, s1);
  return {dot(v.t0, s0) + kLowPass, dot(v.t0, s1), dot(v.t1, s1) + kLowPass};
}

struct Clip {
  float x, y, inverse_w;
};
Clip clip_of(const RasterizeForward& f, int64_t i) {
  const float* m = f.camera.full_projection;
  const float* p = f.means + 3 * i;
  const auto column = [&](int k) { return p[0] * m[k] + p[1] * m[4 + k] + p[2] * m[8 + k] + m[12 + k]; };
  return {column(0), column(1), 1 / (column(3) + kClipGuard)};
}

// floor(position / tile), kept inside [0, tiles] for any float.
int tile_at(float position, int tiles) {
  return static_cast<int>(std::clamp(std::floor(position / kTile), 0.0f, static_cast<float>(tiles)));
}

Splat project(const RasterizeForward& f, int64_t i) {
  Splat splat;
  const View v = view_of(f, i);
  if (!(v.p[2] > kNear)) return splat;
  float s[6];
  covariance_3d(f, i, s);
  const Covariance2 c = covariance_2d(v, s);
  const float determinant = c.xx * c.yy - c.xy * c.xy;
  if (determinant == 0) return splat;
  splat.conic[0] = c.yy / determinant;
  splat.conic[1] = -c.xy / determinant;
  splat.conic[2] = c.xx / determinant;
  const float middle = 0.5f * (c.xx + c.yy);
  const float largest = middle + std::sqrt(std::max(kDiscriminantFloor, middle * middle - determinant));
  const float radius = std::ceil(3 * std::sqrt(largest));
  const Clip clip = clip_of(f, i);
  splat.x = ((clip.x * clip.inverse_w + 1) * f.camera.width - 1) * 0.5f;
  splat.y = ((clip.y * clip.inverse_w + 1) * f.camera.height - 1) * 0.5f;
  splat.z = v.p[2];
  splat.opacity = f.opacities[i];
  const float* color = f.colors + 3 * i;
  const float sum = splat.x + splat.y + splat.z + splat.conic[0] + splat.conic[1] + splat.conic[2] +
                    splat.opacity + radius + color[0] + color[1] + color[2];
  if (!std::isfinite(sum)) return splat;
  const int tiles_x = (f.camera.width + kTile - 1) / kTile, tiles_y = (f.camera.height + kTile - 1) / kTile;
  splat.tile_x0 = tile_at(splat.x - radius, tiles_x);
  splat.tile_x1 = tile_at(splat.x + radius + (kTile - 1), tiles_x);
  splat.tile_y0 = tile_at(splat.y - radius, tiles_y);
  splat.tile_y1 = tile_at(splat.y + radius + (kTile - 1), tiles_y);
  if (splat.tile_x0 < splat.tile_x1 && splat.tile_y0 < splat.tile_y1)
    splat.radius = static_cast<int>(std::min(radius, 1e9f));
  return splat;
}

void sort_into_tiles(const RasterizeForward& f, Context& context) {
  const int tiles_x = (f.camera.width + kTile - 1) / kTile, tiles_y = (f.camera.height + kTile - 1) / kTile;
  context.order.clear();
  for (int64_t i = 0; i < f.count; ++i)
    if (context.splats[i].radius > 0) context.order.push_back(static_cast<int32_t>(i));
  std::stable_sort(context.order.begin(), context.order.end(),
                   [&](int32_t a, int32_t b) { return context.splats[a].z < context.splats[b].z; });
  const auto for_each_pair = [&](auto&& visit) {
    for (const int32_t i : context.order) {
      const Splat& splat = context.splats[i];
      for (int y = splat.tile_y0; y < splat.tile_y1; ++y)
        for (int x = splat.tile_x0; x < splat.tile_x1; ++x) visit(y * tiles_x + x, i);
    }
  };
  context.tile_begin.assign(static_cast<size_t>(tiles_x) * tiles_y + 2, 0);
  for_each_pair([&](int tile, int32_t) { ++context.tile_begin[tile + 2]; });
  std::partial_sum(context.tile_begin.begin(), context.tile_begin.end(), context.tile_begin.begin());
  context.pairs.resize(static_cast<size_t>(context.tile_begin.back()));
  for_each_pair([&](int tile, int32_t i) { context.pairs[context.tile_begin[tile + 1]++] = i; });
}

struct Alpha {
  float unclamped = 0, value = 0, dx = 0, dy = 0;
};
// value = 0: the Gaussian does not touch the pixel.
Alpha alpha_at(const Splat& splat, int x, int y) {
  Alpha alpha;
  alpha.dx = splat.x - x;
  alpha.dy = splat.y - y;
  const float power = -0.5f * (splat.conic[0] * alpha.dx * alpha.dx + splat.conic[2] * alpha.dy * alpha.dy) -
                      splat.conic[1] * alpha.dx * alpha.dy;
  if (power > 0) return alpha;
  alpha.unclamped = splat.opacity * std::exp(power);
  alpha.value = std::min(kAlphaMax, alpha.unclamped);
  if (!(alpha.value >= kAlphaMin)) alpha.value = 0;
  return alpha;
}

void blend_pixel(const RasterizeForward& f, Context& context, int tile, int x, int y) {
  const int64_t pixel = int64_t{y} * f.camera.width + x;
  float color[3] = {}, depth = 0, transmittance = 1;
  int64_t k = context.tile_begin[tile];
  for (; k < context.tile_begin[tile + 1]; ++k) {
    const int32_t i = context.pairs[k];
    const Splat& splat = context.splats[i];
    const Alpha alpha = alpha_at(splat, x, y);
    if (alpha.value == 0) continue;
    const float next = transmittance * (1 - alpha.value);
    if (next < kTransmittanceMin) break;
    const float weight = alpha.value * transmittance;
    for (int channel = 0; channel < 3; ++channel)
      color[channel] += weight * f.colors[3 * int64_t{i} + channel];
    depth += weight * splat.z;
    transmittance = next;
  }
  context.transmittance[pixel] = transmittance;
  context.stop[pixel] = static_cast<int32_t>(k - context.tile_begin[tile]);
  for (int channel = 0; channel < 3; ++channel)
    f.image[3 * pixel + channel] = color[channel] + transmittance * f.camera.background[channel];
  if (f.depth) f.depth[pixel] = depth;
  if (f.alpha) f.alpha[pixel] = 1 - transmittance;
}

void blend_pixel_backward(const RasterizeBackward& b, Context& context, int tile, int x, int y) {
  const RasterizeForward& f = b.forward;
  const int64_t pixel = int64_t{y} * f.camera.width + x;
  const float* d_pixel = b.d_image + 3 * pixel;
  float transmittance = context.transmittance[pixel];
  // What lies behind the current Gaussian, dotted with the pixel's gradient.
  float behind = transmittance * (dot(f.camera.background, d_pixel) - (b.d_alpha ? b.d_alpha[pixel] : 0.0f));
  for (int64_t k = context.tile_begin[tile] + context.stop[pixel] - 1; k >= context.tile_begin[tile]; --k) {
    const int32_t i = context.pairs[k];
    const Splat& splat = context.splats[i];
    const Alpha alpha = alpha_at(splat, x, y);
    if (alpha.value == 0) continue;
    transmittance /= 1 - alpha.value;
    const float* color = f.colors + 3 * int64_t{i};
    const float along_color = dot(color, d_pixel);
    const float d_alpha = transmittance * along_color - behind / (1 - alpha.value);
    const float weight = transmittance * alpha.value;
    behind += weight * along_color;
    float* d = context.d_screen.data() + 9 * int64_t{i};
    const float d_power = alpha.unclamped * d_alpha;  // the clamp to 0.99 is ignored
    d[0] -= d_power * (splat.conic[0] * alpha.dx + splat.conic[1] * alpha.dy);
    d[1] -= d_power * (splat.conic[1] * alpha.dx + splat.conic[2] * alpha.dy);
    d[2] -= 0.5f * d_power * alpha.dx * alpha.dx;
    d[3] -= d_power * alpha.dx * alpha.dy;
    d[4] -= 0.5f * d_power * alpha.dy * alpha.dy;
    d[5] += d_power / splat.opacity;
    for (int channel = 0; channel < 3; ++channel) d[6 + channel] += weight * d_pixel[channel];
  }
}

template <class Body>
void for_each_pixel(const RasterizeCamera& camera, int tile, Body&& body) {
  const int tiles_x = (camera.width + kTile - 1) / kTile;
  const int x0 = tile % tiles_x * kTile, y0 = tile / tiles_x * kTile;
  for (int y = y0; y < std::min(y0 + kTile, camera.height); ++y)
    for (int x = x0; x < std::min(x0 + kTile, camera.width); ++x) body(x, y);
}

// From the conic to the 2D covariance: the derivative of the inverse of a symmetric 2×2 matrix.
Covariance2 conic_backward(const Covariance2& c, const float d_conic[3]) {
  const float determinant = c.xx * c.yy - c.xy * c.xy;
  const float scale = 1 / (determinant * determinant);
  return {scale * (-c.yy * c.yy * d_conic[0] + c.xy * c.yy * d_conic[1] - c.xy * c.xy * d_conic[2]),
          scale * (2 * c.xy * c.yy * d_conic[0] - (c.xx * c.yy + c.xy * c.xy) * d_conic[1] +
                   2 * c.xx * c.xy * d_conic[2]),
          scale * (-c.xy * c.xy * d_conic[0] + c.xx * c.xy * d_conic[1] - c.xx * c.xx * d_conic[2])};
}

void covariance_3d_backward(const RasterizeBackward& b, int64_t i, const float d_s[6]) {
  const RasterizeForward& f = b.forward;
  if (f.covariances) {
    if (b.d_covariances)
      for (int k = 0; k < 6; ++k) b.d_covariances[6 * i + k] += d_s[k];
    return;
  }
  float r[3][3], m[3][3], d_r[3][3];
  rotation_matrix(f.rotations + 4 * i, r);
  scaled_rotation(f, i, m);
  const float symmetric[6] = {2 * d_s[0], d_s[1], d_s[2], 2 * d_s[3], d_s[4], 2 * d_s[5]};
  for (int k = 0; k < 3; ++k) {
    const float column[3] = {m[0][k], m[1][k], m[2][k]};
    float d_column[3];
    times_symmetric(symmetric, column, d_column);
    const float scale = f.camera.scale_modifier * f.scales[3 * i + k];
    float d_scale = 0;
    for (int row = 0; row < 3; ++row) {
      d_scale += d_column[row] * r[row][k];
      d_r[row][k] = d_column[row] * scale;
    }
    if (b.d_scales) b.d_scales[3 * i + k] += d_scale;  // as published: not times the modifier
  }
  if (!b.d_rotations) return;
  const float *q = f.rotations + 4 * i, w = q[0], x = q[1], y = q[2], z = q[3];
  float* d = b.d_rotations + 4 * i;
  d[0] += 2 * (x * (d_r[2][1] - d_r[1][2]) + y * (d_r[0][2] - d_r[2][0]) + z * (d_r[1][0] - d_r[0][1]));
  d[1] += 2 * (y * (d_r[0][1] + d_r[1][0]) + z * (d_r[0][2] + d_r[2][0]) + w * (d_r[2][1] - d_r[1][2]) -
               2 * x * (d_r[1][1] + d_r[2][2]));
  d[2] += 2 * (x * (d_r[0][1] + d_r[1][0]) + z * (d_r[1][2] + d_r[2][1]) + w * (d_r[0][2] - d_r[2][0]) -
               2 * y * (d_r[0][0] + d_r[2][2]));
  d[3] += 2 * (x * (d_r[0][2] + d_r[2][0]) + y * (d_r[1][2] + d_r[2][1]) + w * (d_r[1][0] - d_r[0][1]) -
               2 * z * (d_r[0][0] + d_r[1][1]));
}

void mean_backward(const RasterizeBackward& b, int64_t i, const View& v, const float s[6],
                   const Covariance2& d_c, const float d_ndc[2]) {
  if (!b.d_means) return;
  const RasterizeCamera& camera = b.forward.camera;
  const float* w = camera.world_to_view;
  float s0[3], s1[3], d_t0[3], d_t1[3];
  times_symmetric(s, v.t0, s0);
  times_symmetric(s, v.t1, s1);
  for (int k = 0; k < 3; ++k) {
    d_t0[k] = 2 * d_c.xx * s0[k] + d_c.xy * s1[k];
    d_t1[k] = 2 * d_c.yy * s1[k] + d_c.xy * s0[k];
  }
  const auto view_row = [&](const float d[3], int k) {
    return d[0] * w[k] + d[1] * w[4 + k] + d[2] * w[8 + k];
  };
  const float d_j00 = view_row(d_t0, 0), d_j02 = view_row(d_t0, 2);
  const float d_j11 = view_row(d_t1, 1), d_j12 = view_row(d_t1, 2);
  const float z = v.p[2], z2 = z * z;
  const float d_view[3] = {
      v.x_free ? -v.focal_x / z2 * d_j02 : 0, v.y_free ? -v.focal_y / z2 * d_j12 : 0,
      (-v.focal_x * d_j00 - v.focal_y * d_j11) / z2 +
          2 * (v.focal_x * v.x_clamped * d_j02 + v.focal_y * v.y_clamped * d_j12) / (z2 * z)};
  const Clip clip = clip_of(b.forward, i);
  const float* m = camera.full_projection;
  const float along_w = (clip.x * d_ndc[0] + clip.y * d_ndc[1]) * clip.inverse_w;
  for (int k = 0; k < 3; ++k) {
    b.d_means[3 * i + k] +=
        dot(w + 4 * k, d_view) +
        (m[4 * k] * d_ndc[0] + m[4 * k + 1] * d_ndc[1] - m[4 * k + 3] * along_w) * clip.inverse_w;
  }
}

void project_backward(const RasterizeBackward& b, const Context& context, int64_t i) {
  const RasterizeForward& f = b.forward;
  if (context.splats[i].radius == 0) return;
  const float* d = context.d_screen.data() + 9 * i;
  if (b.d_colors)
    for (int channel = 0; channel < 3; ++channel) b.d_colors[3 * i + channel] += d[6 + channel];
  if (b.d_opacities) b.d_opacities[i] += d[5];
  const float d_ndc[2] = {d[0] * 0.5f * f.camera.width, d[1] * 0.5f * f.camera.height};
  if (b.d_means_ndc) {
    b.d_means_ndc[2 * i] += d_ndc[0];
    b.d_means_ndc[2 * i + 1] += d_ndc[1];
  }
  const View v = view_of(f, i);
  float s[6];
  covariance_3d(f, i, s);
  const Covariance2 d_c = conic_backward(covariance_2d(v, s), d + 2);
  mean_backward(b, i, v, s, d_c, d_ndc);
  float d_s[6];
  int entry = 0;
  for (int row = 0; row < 3; ++row) {
    for (int column = row; column < 3; ++column) {
      const float twice = row == column ? 1 : 2;
      d_s[entry++] = twice * (d_c.xx * v.t0[row] * v.t0[column] + d_c.yy * v.t1[row] * v.t1[column]) +
                     0.5f * twice * d_c.xy * (v.t0[row] * v.t1[column] + v.t0[column] * v.t1[row]);
    }
  }
  covariance_3d_backward(b, i, d_s);
}

int tile_count(const RasterizeCamera& camera) {
  return ((camera.width + kTile - 1) / kTile) * ((camera.height + kTile - 1) / kTile);
}

}  // namespace

std::unique_ptr<RasterizeContext> create_rasterize_context() {
  return std::make_unique<Context>();
}

void rasterize_forward(const RasterizeForward& f) {
  Context& context = static_cast<Context&>(*f.context);
  context.splats.resize(static_cast<size_t>(f.count));
  const size_t pixels = static_cast<size_t>(f.camera.width) * f.camera.height;
  context.transmittance.resize(pixels);
  context.stop.resize(pixels);
  parallel_for(f.count, 512, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      context.splats[i] = project(f, i);
      if (f.radii) f.radii[i] = context.splats[i].radius;
    }
  });
  sort_into_tiles(f, context);
  parallel_for(tile_count(f.camera), 1, [&](int64_t tile, int64_t) {
    for_each_pixel(f.camera, static_cast<int>(tile),
                   [&](int x, int y) { blend_pixel(f, context, static_cast<int>(tile), x, y); });
  });
}

void rasterize_backward(const RasterizeBackward& b) {
  Context& context = static_cast<Context&>(*b.forward.context);
  context.d_screen.assign(9 * static_cast<size_t>(b.forward.count), 0);
  for (int tile = 0; tile < tile_count(b.forward.camera); ++tile) {
    for_each_pixel(b.forward.camera, tile,
                   [&](int x, int y) { blend_pixel_backward(b, context, tile, x, y); });
  }
  parallel_for(b.forward.count, 512, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) project_backward(b, context, i);
  });
}

}  // namespace eg4d::cpu
