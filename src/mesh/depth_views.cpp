#include "mesh/depth_views.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/interrupt.h"
#include "mesh/texture_bake.h"

namespace eg4d::mesh {
namespace {

constexpr float kNothing = -1;

template <class T>
Tensor upload(Backend& backend, Shape shape, const std::vector<T>& values) {
  return Tensor::from_bytes(backend, std::move(shape), DType::f32, values.data(), values.size() * sizeof(T));
}

// Renders how far away Gaussians are: the first three moments of z = (view z - middle)/radius.
class MomentRenderer {
 public:
  MomentRenderer(Backend& backend, const Ellipsoids& ellipsoids)
      : backend_(backend),
        ellipsoids_(ellipsoids),
        context_(backend.create_rasterize_context()),
        means_(upload(backend, {count(), 3}, ellipsoids.means)),
        scales_(upload(backend, {count(), 3}, ellipsoids.scales)),
        rotations_(upload(backend, {count(), 4}, ellipsoids.rotations)),
        opacities_(upload(backend, {count()}, ellipsoids.opacities)),
        colors_(Tensor::empty(backend, {count(), 3})) {}

  struct Moments {
    std::vector<float> powers;  // [H,W,3], times alpha
    std::vector<float> alpha;   // [H,W]
  };
  Moments render(const Camera& camera, float middle, float radius) {
    const float* m = camera.world_to_view;
    std::vector<Vec3f> powers;
    powers.reserve(ellipsoids_.count());
    for (const Vec3f& p : ellipsoids_.means) {
      const float z = (p.x * m[2] + p.y * m[6] + p.z * m[10] + m[14] - middle) / radius;
      powers.push_back({z, z * z, z * z * z});
    }
    colors_.copy_from_host(powers.data(), powers.size() * sizeof(Vec3f));
    constexpr float kBlack[3] = {0, 0, 0};
    const RasterizeCamera seen = camera.rasterize_camera(kBlack);
    const Tensor row =
        Tensor::from_bytes(backend_, {sizeof seen / sizeof(float)}, DType::f32, &seen, sizeof seen);
    const Tensor image = Tensor::empty(backend_, {camera.height, camera.width, 3}),
                 alpha = Tensor::empty(backend_, {camera.height, camera.width});
    RasterizeForward forward;
    forward.camera = static_cast<const RasterizeCamera*>(row.raw());
    forward.width = camera.width;
    forward.height = camera.height;
    forward.count = count();
    forward.means = means_.data();
    forward.scales = scales_.data();
    forward.rotations = rotations_.data();
    forward.opacities = opacities_.data();
    forward.colors = colors_.data();
    forward.image = image.data();
    forward.alpha = alpha.data();
    forward.context = context_.get();
    backend_.run(forward);
    return {image.to_host(), alpha.to_host()};
  }

 private:
  int64_t count() const { return static_cast<int64_t>(ellipsoids_.count()); }

  Backend& backend_;
  const Ellipsoids& ellipsoids_;
  const std::unique_ptr<RasterizeContext> context_;
  const Tensor means_, scales_, rotations_, opacities_;
  Tensor colors_;
};

// Of moments about 0, each of weight 1: two layers have them, x1 < mean < x2 as far from it as the roots of
// x² - (skew/variance)·x - variance. The one behind which half of the weight lies.
float middle_layer(float first, float second, float third, float spread) {
  const float variance = second - first * first;
  if (!(variance > spread * spread)) return first;  // one layer
  const float skew = third - 3 * first * second + 2 * first * first * first;
  const float half = skew / variance / 2, root = std::sqrt(half * half + variance);
  const float nearer = half - root, farther = half + root;
  const bool near_is_half = farther >= -nearer;  // weights: farther : -nearer
  return first + (near_is_half ? nearer : farther);
}

std::vector<float> without_steps(const std::vector<float>& depth, int width, int height, float step) {
  std::vector<float> kept = depth;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const auto at = static_cast<size_t>(y * width + x);
      if (depth[at] < 0) continue;
      for (int v = std::max(y - 1, 0); v <= std::min(y + 1, height - 1); ++v)
        for (int u = std::max(x - 1, 0); u <= std::min(x + 1, width - 1); ++u) {
          const float other = depth[static_cast<size_t>(v * width + u)];
          if (other >= 0 && std::abs(other - depth[at]) > step)
            kept[at] = std::numeric_limits<float>::quiet_NaN();
        }
    }
  return kept;
}

std::array<Vec3f, 8> corners_of(const Box& box) {
  std::array<Vec3f, 8> corners;
  for (size_t c = 0; c < 8; ++c)
    corners[c] = {(c & 1) ? box.most.x : box.least.x, (c & 2) ? box.most.y : box.least.y,
                  (c & 4) ? box.most.z : box.least.z};
  return corners;
}

}  // namespace

std::vector<DepthView> render_depths(Backend& backend, const Ellipsoids& ellipsoids, const Box& box,
                                     int count, int pixels, float step, Progress& progress) {
  const std::vector<Camera> cameras = cameras_around(corners_of(box), count, pixels);
  const Vec3f center = box.center();
  MomentRenderer renderer(backend, ellipsoids);
  std::vector<DepthView> views;
  progress.begin(static_cast<int64_t>(cameras.size()), "depth");
  for (const Camera& camera : cameras) {
    if (interrupt_requested()) throw Interrupted("stopped before the surface was complete");
    const float middle = length(center - Vec3f{camera.center[0], camera.center[1], camera.center[2]});
    const float radius = length(box.size()) / 2;
    const MomentRenderer::Moments moments = renderer.render(camera, middle, radius);
    std::vector<float> depth(moments.alpha.size(), kNothing);
    for (size_t i = 0; i < depth.size(); ++i) {
      if (!(moments.alpha[i] >= 0.5f)) continue;
      const float w = 1 / moments.alpha[i], *powers = &moments.powers[3 * i];
      depth[i] =
          middle + radius * middle_layer(w * powers[0], w * powers[1], w * powers[2], step / 2 / radius);
    }
    views.push_back({camera, without_steps(depth, camera.width, camera.height, step)});
    progress.update(static_cast<int64_t>(views.size()));
  }
  return views;
}

}  // namespace eg4d::mesh
