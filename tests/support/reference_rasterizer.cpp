#include "support/reference_rasterizer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

// Splatting of 3D Gaussians: Zwicker et al., "EWA splatting" (2002); Kerbl et al., "3D Gaussian splatting for
// real-time radiance field rendering" (2023).

namespace eg4d::test {
namespace {

constexpr int kTile = 16;

template <class T>
T dot(const T a[3], const T b[3]) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

// The product of a symmetric matrix (xx, xy, xz, yy, yz, zz) and a vector.
template <class T>
void times_symmetric(const T s[6], const T v[3], T out[3]) {
  out[0] = s[0] * v[0] + s[1] * v[1] + s[2] * v[2];
  out[1] = s[1] * v[0] + s[3] * v[1] + s[4] * v[2];
  out[2] = s[2] * v[0] + s[4] * v[1] + s[5] * v[2];
}

template <class T>
void rotation_matrix(const T q[4], T r[3][3]) {
  const T w = q[0], x = q[1], y = q[2], z = q[3];
  r[0][0] = 1 - 2 * (y * y + z * z), r[0][1] = 2 * (x * y - w * z), r[0][2] = 2 * (x * z + w * y);
  r[1][0] = 2 * (x * y + w * z), r[1][1] = 1 - 2 * (x * x + z * z), r[1][2] = 2 * (y * z - w * x);
  r[2][0] = 2 * (x * z - w * y), r[2][1] = 2 * (y * z + w * x), r[2][2] = 1 - 2 * (x * x + y * y);
}

// R·diag(scale): the covariance is this matrix times its transpose.
template <class T>
void scaled_rotation(const RasterScene<T>& scene, int64_t i, T m[3][3]) {
  rotation_matrix(&scene.rotations[4 * i], m);
  for (int k = 0; k < 3; ++k)
    for (int row = 0; row < 3; ++row) m[row][k] *= scene.scales[3 * i + k];
}

template <class T>
void covariance_3d(const RasterScene<T>& scene, int64_t i, T s[6]) {
  T m[3][3];
  scaled_rotation(scene, i, m);
  int entry = 0;
  for (int row = 0; row < 3; ++row)
    for (int column = row; column < 3; ++column) s[entry++] = dot(m[row], m[column]);
}

// The mean in view space and the local affine approximation of the projection there.
template <class T>
struct View {
  T p[3];
  T x_clamped, y_clamped;
  bool x_free, y_free;  // not clamped
  T t0[3], t1[3];       // rows of jacobian · rotation
  T focal_x, focal_y;
};

template <class T>
View<T> view_of(const RasterScene<T>& scene, int64_t i) {
  const RasterizeCamera& camera = scene.camera;
  const float* w = camera.world_to_view;
  const T* mean = &scene.means[3 * i];
  View<T> v;
  for (int k = 0; k < 3; ++k) v.p[k] = mean[0] * w[k] + mean[1] * w[4 + k] + mean[2] * w[8 + k] + w[12 + k];
  v.focal_x = scene.width / (2 * T{camera.tan_fov_x});
  v.focal_y = scene.height / (2 * T{camera.tan_fov_y});
  const T limit_x = T(1.3) * camera.tan_fov_x, limit_y = T(1.3) * camera.tan_fov_y;
  const T tangent_x = v.p[0] / v.p[2], tangent_y = v.p[1] / v.p[2];
  v.x_free = tangent_x >= -limit_x && tangent_x <= limit_x;
  v.y_free = tangent_y >= -limit_y && tangent_y <= limit_y;
  v.x_clamped = std::clamp(tangent_x, -limit_x, limit_x) * v.p[2];
  v.y_clamped = std::clamp(tangent_y, -limit_y, limit_y) * v.p[2];
  const T z = v.p[2];
  for (int k = 0; k < 3; ++k) {
    v.t0[k] = v.focal_x / z * (w[4 * k] - v.x_clamped / z * w[4 * k + 2]);
    v.t1[k] = v.focal_y / z * (w[4 * k + 1] - v.y_clamped / z * w[4 * k + 2]);
  }
  return v;
}

template <class T>
struct Covariance2 {
  T xx, xy, yy;
  T determinant() const { return xx * yy - xy * xy; }
};

template <class T>
Covariance2<T> covariance_2d(const View<T>& v, const T s[6]) {
  T s0[3], s1[3];
  times_symmetric(s, v.t0, s0);
  times_symmetric(s, v.t1, s1);
  return {dot(v.t0, s0) + T(0.3), dot(v.t0, s1), dot(v.t1, s1) + T(0.3)};
}

template <class T>
struct Clip {
  T x, y, inverse_w;
};

template <class T>
Clip<T> clip_of(const RasterScene<T>& scene, int64_t i) {
  const float* m = scene.camera.full_projection;
  const T* p = &scene.means[3 * i];
  const auto column = [&](int k) { return p[0] * m[k] + p[1] * m[4 + k] + p[2] * m[8 + k] + m[12 + k]; };
  return {column(0), column(1), 1 / (column(3) + T(1e-7))};
}

int tiles_along(int pixels) {
  return (pixels + kTile - 1) / kTile;
}

// floor(position / tile), kept inside [0, tiles] for any number.
template <class T>
int tile_at(T position, int tiles) {
  return static_cast<int>(std::clamp(std::floor(position / kTile), T(0), static_cast<T>(tiles)));
}

template <class T>
auto project(const RasterScene<T>& scene, int64_t i) {
  using Splat = typename ReferenceRasterizer<T>::Splat;
  Splat splat;
  const View<T> v = view_of(scene, i);
  if (!(v.p[2] > T(0.2))) return splat;
  T s[6];
  covariance_3d(scene, i, s);
  const Covariance2<T> c = covariance_2d(v, s);
  const T determinant = c.determinant();
  if (determinant == 0) return splat;
  splat.conic[0] = c.yy / determinant;
  splat.conic[1] = -c.xy / determinant;
  splat.conic[2] = c.xx / determinant;
  const T middle = (c.xx + c.yy) / 2;
  const T largest = middle + std::sqrt(std::max(T(0.1), middle * middle - determinant));
  const T radius = std::ceil(3 * std::sqrt(largest));
  const Clip<T> clip = clip_of(scene, i);
  const int width = scene.width, height = scene.height;
  splat.x = ((clip.x * clip.inverse_w + 1) * width - 1) / 2;
  splat.y = ((clip.y * clip.inverse_w + 1) * height - 1) / 2;
  splat.z = v.p[2];
  splat.opacity = scene.opacities[i];
  const T* color = &scene.colors[3 * i];
  const T numbers[] = {splat.x,       splat.y, splat.z,  splat.conic[0], splat.conic[1], splat.conic[2],
                       splat.opacity, radius,  color[0], color[1],       color[2]};
  if (!std::ranges::all_of(numbers, [](T number) { return std::isfinite(number); })) return Splat{};
  splat.tile_x0 = tile_at(splat.x - radius, tiles_along(width));
  splat.tile_x1 = tile_at(splat.x + radius + (kTile - 1), tiles_along(width));
  splat.tile_y0 = tile_at(splat.y - radius, tiles_along(height));
  splat.tile_y1 = tile_at(splat.y + radius + (kTile - 1), tiles_along(height));
  if (splat.tile_x0 < splat.tile_x1 && splat.tile_y0 < splat.tile_y1)
    splat.radius = static_cast<int>(std::min(radius, T(1 << 30)));
  return splat;
}

// value = 0: the Gaussian does not touch the pixel.
template <class T>
struct Alpha {
  T unclamped = 0, value = 0, dx = 0, dy = 0;
};

template <class T>
Alpha<T> alpha_at(const typename ReferenceRasterizer<T>::Splat& splat, int x, int y) {
  Alpha<T> alpha;
  alpha.dx = splat.x - x;
  alpha.dy = splat.y - y;
  const T power = T(-0.5) * (splat.conic[0] * alpha.dx * alpha.dx + splat.conic[2] * alpha.dy * alpha.dy) -
                  splat.conic[1] * alpha.dx * alpha.dy;
  if (!(power <= 0)) return alpha;
  alpha.unclamped = splat.opacity * std::exp(power);
  alpha.value = std::min(T(0.99), alpha.unclamped);
  if (!(alpha.value >= T(1) / 255)) alpha.value = 0;
  return alpha;
}

// From the conic to the 2D covariance: the derivative of the inverse of a symmetric 2×2 matrix.
template <class T>
Covariance2<T> conic_backward(const Covariance2<T>& c, const T d_conic[3]) {
  const T scale = 1 / (c.determinant() * c.determinant());
  return {scale * (-c.yy * c.yy * d_conic[0] + c.xy * c.yy * d_conic[1] - c.xy * c.xy * d_conic[2]),
          scale * (2 * c.xy * c.yy * d_conic[0] - (c.xx * c.yy + c.xy * c.xy) * d_conic[1] +
                   2 * c.xx * c.xy * d_conic[2]),
          scale * (-c.xy * c.xy * d_conic[0] + c.xx * c.xy * d_conic[1] - c.xx * c.xx * d_conic[2])};
}

template <class T>
void scale_rotation_backward(const RasterScene<T>& scene, int64_t i, const T d_s[6], T* d_scale, T* d) {
  T r[3][3], m[3][3], d_r[3][3];
  const T* q = &scene.rotations[4 * i];
  rotation_matrix(q, r);
  scaled_rotation(scene, i, m);
  const T symmetric[6] = {2 * d_s[0], d_s[1], d_s[2], 2 * d_s[3], d_s[4], 2 * d_s[5]};
  for (int k = 0; k < 3; ++k) {
    const T column[3] = {m[0][k], m[1][k], m[2][k]};
    T d_column[3];
    times_symmetric(symmetric, column, d_column);
    d_scale[k] = d_column[0] * r[0][k] + d_column[1] * r[1][k] + d_column[2] * r[2][k];
    for (int row = 0; row < 3; ++row) d_r[row][k] = d_column[row] * scene.scales[3 * i + k];
  }
  const T w = q[0], x = q[1], y = q[2], z = q[3];
  d[0] = 2 * (x * (d_r[2][1] - d_r[1][2]) + y * (d_r[0][2] - d_r[2][0]) + z * (d_r[1][0] - d_r[0][1]));
  d[1] = 2 * (y * (d_r[0][1] + d_r[1][0]) + z * (d_r[0][2] + d_r[2][0]) + w * (d_r[2][1] - d_r[1][2]) -
              2 * x * (d_r[1][1] + d_r[2][2]));
  d[2] = 2 * (x * (d_r[0][1] + d_r[1][0]) + z * (d_r[1][2] + d_r[2][1]) + w * (d_r[0][2] - d_r[2][0]) -
              2 * y * (d_r[0][0] + d_r[2][2]));
  d[3] = 2 * (x * (d_r[0][2] + d_r[2][0]) + y * (d_r[1][2] + d_r[2][1]) + w * (d_r[1][0] - d_r[0][1]) -
              2 * z * (d_r[0][0] + d_r[1][1]));
}

// The mean moves the splat in the image (d_ndc) and changes the projection's jacobian (through d_c).
template <class T>
void mean_backward(const RasterScene<T>& scene, int64_t i, const View<T>& v, const T s[6],
                   const Covariance2<T>& d_c, const T d_ndc[2], T d_mean[3]) {
  const float* w = scene.camera.world_to_view;
  T s0[3], s1[3], d_t0[3], d_t1[3];
  times_symmetric(s, v.t0, s0);
  times_symmetric(s, v.t1, s1);
  for (int k = 0; k < 3; ++k) {
    d_t0[k] = 2 * d_c.xx * s0[k] + d_c.xy * s1[k];
    d_t1[k] = 2 * d_c.yy * s1[k] + d_c.xy * s0[k];
  }
  const auto column = [&](const T d[3], int k) { return d[0] * w[k] + d[1] * w[4 + k] + d[2] * w[8 + k]; };
  const T d_j00 = column(d_t0, 0), d_j02 = column(d_t0, 2), d_j11 = column(d_t1, 1), d_j12 = column(d_t1, 2);
  const T z = v.p[2], z2 = z * z;
  const T d_view[3] = {
      v.x_free ? -v.focal_x / z2 * d_j02 : 0, v.y_free ? -v.focal_y / z2 * d_j12 : 0,
      (-v.focal_x * d_j00 - v.focal_y * d_j11) / z2 +
          2 * (v.focal_x * v.x_clamped * d_j02 + v.focal_y * v.y_clamped * d_j12) / (z2 * z)};
  const Clip<T> clip = clip_of(scene, i);
  const float* m = scene.camera.full_projection;
  const T along_w = (clip.x * d_ndc[0] + clip.y * d_ndc[1]) * clip.inverse_w;
  for (int k = 0; k < 3; ++k) {
    d_mean[k] = w[4 * k] * d_view[0] + w[4 * k + 1] * d_view[1] + w[4 * k + 2] * d_view[2] +
                (m[4 * k] * d_ndc[0] + m[4 * k + 1] * d_ndc[1] - m[4 * k + 3] * along_w) * clip.inverse_w;
  }
}

template <class T>
void project_backward(const RasterScene<T>& scene, int64_t i, const T d_screen[9],
                      RasterGradients<T>& gradients) {
  std::copy_n(d_screen + 6, 3, &gradients.colors[3 * i]);
  gradients.opacities[i] = d_screen[5];
  const T d_ndc[2] = {d_screen[0] * scene.width / 2, d_screen[1] * scene.height / 2};
  std::copy_n(d_ndc, 2, &gradients.means_ndc[2 * i]);
  const View<T> v = view_of(scene, i);
  T s[6];
  covariance_3d(scene, i, s);
  const Covariance2<T> d_c = conic_backward(covariance_2d(v, s), d_screen + 2);
  mean_backward(scene, i, v, s, d_c, d_ndc, &gradients.means[3 * i]);
  T d_s[6];
  int entry = 0;
  for (int row = 0; row < 3; ++row) {
    for (int column = row; column < 3; ++column) {
      const T both = d_c.xx * v.t0[row] * v.t0[column] + d_c.yy * v.t1[row] * v.t1[column];
      const T cross = d_c.xy * (v.t0[row] * v.t1[column] + v.t0[column] * v.t1[row]);
      d_s[entry++] = row == column ? both + cross / 2 : 2 * both + cross;
    }
  }
  scale_rotation_backward(scene, i, d_s, &gradients.scales[3 * i], &gradients.rotations[4 * i]);
}

template <class Body>
void for_each_pixel(int width, int height, Body&& body) {
  const int tiles_x = tiles_along(width);
  for (int tile = 0; tile < tiles_x * tiles_along(height); ++tile) {
    const int x0 = tile % tiles_x * kTile, y0 = tile / tiles_x * kTile;
    for (int y = y0; y < std::min(y0 + kTile, height); ++y)
      for (int x = x0; x < std::min(x0 + kTile, width); ++x) body(tile, x, y);
  }
}

}  // namespace

template <class T>
void ReferenceRasterizer<T>::sort_into_tiles(int width, int height) {
  const int tiles_x = tiles_along(width);
  order_.clear();
  for (size_t i = 0; i < splats_.size(); ++i)
    if (splats_[i].radius > 0) order_.push_back(static_cast<int32_t>(i));
  std::ranges::stable_sort(order_, {}, [&](int32_t i) { return splats_[i].z; });
  const auto for_each_pair = [&](auto&& visit) {
    for (const int32_t i : order_) {
      const Splat& splat = splats_[i];
      for (int y = splat.tile_y0; y < splat.tile_y1; ++y)
        for (int x = splat.tile_x0; x < splat.tile_x1; ++x) visit(y * tiles_x + x, i);
    }
  };
  tile_begin_.assign(static_cast<size_t>(tiles_x) * tiles_along(height) + 2, 0);
  for_each_pair([&](int tile, int32_t) { ++tile_begin_[tile + 2]; });
  std::partial_sum(tile_begin_.begin(), tile_begin_.end(), tile_begin_.begin());
  pairs_.resize(static_cast<size_t>(tile_begin_.back()));
  for_each_pair([&](int tile, int32_t i) { pairs_[tile_begin_[tile + 1]++] = i; });
}

template <class T>
void ReferenceRasterizer<T>::blend_pixel(const RasterScene<T>& scene, int tile, int x, int y) {
  const int64_t pixel = int64_t{y} * scene.width + x;
  T color[3] = {}, distance = 0, transmittance = 1;
  int64_t k = tile_begin_[tile];
  for (; k < tile_begin_[tile + 1]; ++k) {
    const int32_t i = pairs_[k];
    const Alpha<T> at = alpha_at<T>(splats_[i], x, y);
    if (at.value == 0) continue;
    const T next = transmittance * (1 - at.value);
    if (next < T(1e-4)) break;
    const T weight = at.value * transmittance;
    for (int channel = 0; channel < 3; ++channel)
      color[channel] += weight * scene.colors[3 * int64_t{i} + channel];
    distance += weight * splats_[i].z;
    transmittance = next;
    ++blended_;
  }
  stop_[pixel] = static_cast<int32_t>(k - tile_begin_[tile]);
  for (int channel = 0; channel < 3; ++channel)
    image[3 * pixel + channel] = color[channel] + transmittance * scene.camera.background[channel];
  depth[pixel] = distance;
  alpha[pixel] = 1 - transmittance;
}

template <class T>
void ReferenceRasterizer<T>::blend_pixel_backward(const RasterScene<T>& scene, const T* d_pixel, int tile,
                                                  int x, int y) {
  const int64_t pixel = int64_t{y} * scene.width + x;
  const T background[3] = {scene.camera.background[0], scene.camera.background[1],
                           scene.camera.background[2]};
  T transmittance = 1 - alpha[pixel];
  // What lies behind the current Gaussian, times the pixel's gradient.
  T behind = transmittance * dot(background, d_pixel);
  for (int64_t k = tile_begin_[tile] + stop_[pixel] - 1; k >= tile_begin_[tile]; --k) {
    const int32_t i = pairs_[k];
    const Splat& splat = splats_[i];
    const Alpha<T> at = alpha_at<T>(splat, x, y);
    if (at.value == 0) continue;
    transmittance /= 1 - at.value;
    const T along_color = dot(&scene.colors[3 * int64_t{i}], d_pixel);
    const T d_value = transmittance * along_color - behind / (1 - at.value);
    const T weight = transmittance * at.value;
    behind += weight * along_color;
    const T d_power = at.unclamped * d_value;  // the clamp to 0.99 is ignored
    T* d = &d_screen_[9 * int64_t{i}];
    d[0] -= d_power * (splat.conic[0] * at.dx + splat.conic[1] * at.dy);
    d[1] -= d_power * (splat.conic[1] * at.dx + splat.conic[2] * at.dy);
    d[2] -= d_power * at.dx * at.dx / 2;
    d[3] -= d_power * at.dx * at.dy;
    d[4] -= d_power * at.dy * at.dy / 2;
    d[5] += d_power / splat.opacity;
    for (int channel = 0; channel < 3; ++channel) d[6 + channel] += weight * d_pixel[channel];
  }
}

template <class T>
void ReferenceRasterizer<T>::forward(const RasterScene<T>& scene) {
  const size_t pixels = static_cast<size_t>(scene.width) * scene.height;
  image.resize(3 * pixels);
  depth.resize(pixels);
  alpha.resize(pixels);
  stop_.resize(pixels);
  radii.resize(static_cast<size_t>(scene.count));
  splats_.resize(static_cast<size_t>(scene.count));
  for (int64_t i = 0; i < scene.count; ++i) {
    splats_[i] = project(scene, i);
    radii[i] = splats_[i].radius;
  }
  sort_into_tiles(scene.width, scene.height);
  blended_ = 0;
  for_each_pixel(scene.width, scene.height, [&](int tile, int x, int y) { blend_pixel(scene, tile, x, y); });
}

template <class T>
RasterGradients<T> ReferenceRasterizer<T>::backward(const RasterScene<T>& scene,
                                                    const std::vector<T>& d_image) {
  const size_t count = static_cast<size_t>(scene.count);
  d_screen_.assign(9 * count, 0);
  for_each_pixel(scene.width, scene.height, [&](int tile, int x, int y) {
    const int64_t pixel = int64_t{y} * scene.width + x;
    blend_pixel_backward(scene, &d_image[3 * pixel], tile, x, y);
  });
  RasterGradients<T> gradients;
  gradients.means.resize(3 * count);
  gradients.scales.resize(3 * count);
  gradients.rotations.resize(4 * count);
  gradients.opacities.resize(count);
  gradients.colors.resize(3 * count);
  gradients.means_ndc.resize(2 * count);
  for (int64_t i = 0; i < scene.count; ++i)
    if (radii[i] > 0) project_backward(scene, i, &d_screen_[9 * i], gradients);
  return gradients;
}

template class ReferenceRasterizer<float>;
template class ReferenceRasterizer<double>;

}  // namespace eg4d::test
