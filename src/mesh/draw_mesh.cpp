#include "mesh/draw_mesh.h"

#include <algorithm>
#include <cmath>

#include "core/threads.h"
#include "mesh/depth_buffer.h"
#include "splat/evaluation.h"

namespace eg4d::mesh {
namespace {

// Between the middles of four texels; beyond the border its own.
Vec3f sample(const Picture& texture, Vec2f uv) {
  const auto width = static_cast<float>(texture.width), height = static_cast<float>(texture.height);
  const float x = std::clamp(uv.x * width - 0.5f, 0.f, width - 1),
              y = std::clamp(uv.y * height - 0.5f, 0.f, height - 1);
  const auto column = static_cast<size_t>(x), row = static_cast<size_t>(y);
  Vec3f sum;
  for (size_t k = 0; k < 4; ++k) {
    const size_t i = std::min(column + k % 2, static_cast<size_t>(texture.width) - 1);
    const size_t j = std::min(row + k / 2, static_cast<size_t>(texture.height) - 1);
    const float right = x - static_cast<float>(column), down = y - static_cast<float>(row);
    const float weight = (k % 2 ? right : 1 - right) * (k / 2 ? down : 1 - down);
    const uint8_t* texel =
        &texture.data[(j * static_cast<size_t>(texture.width) + i) * static_cast<size_t>(texture.channels)];
    sum += Vec3f{static_cast<float>(texel[0]), static_cast<float>(texel[1]), static_cast<float>(texel[2])} *
           (weight / 255);
  }
  return sum;
}

}  // namespace

std::vector<float> draw_mesh(const TriangleMesh& mesh, std::span<const Vec3f> positions,
                             const Picture& texture, const Camera& camera, const float background[3]) {
  const Camera fine = camera.resized(2 * camera.width, 2 * camera.height);
  std::vector<SurfacePoint> points;
  const std::vector<float> depth = depth_buffer(positions, mesh.triangles, fine, &points);
  const auto width = static_cast<size_t>(camera.width);
  std::vector<float> picture(width * static_cast<size_t>(camera.height) * 3);
  parallel_for(camera.height, 16, [&](int64_t top, int64_t bottom) {
    for (auto row = static_cast<size_t>(top); row < static_cast<size_t>(bottom); ++row)
      for (size_t column = 0; column < width; ++column) {
        Vec3f sum;
        for (size_t k = 0; k < 4; ++k) {
          const size_t pixel = (2 * row + k / 2) * 2 * width + 2 * column + k % 2;
          if (std::isinf(depth[pixel])) {
            sum += {background[0], background[1], background[2]};
            continue;
          }
          const auto& [a, b, c] = mesh.triangles[points[pixel].triangle];
          const float second = points[pixel].second, third = points[pixel].third, first = 1 - second - third;
          const auto& uv = mesh.uvs;
          sum += sample(texture, {uv[a].x * first + uv[b].x * second + uv[c].x * third,
                                  uv[a].y * first + uv[b].y * second + uv[c].y * third});
        }
        std::copy_n((sum * 0.25f).data(), 3, &picture[(row * width + column) * 3]);
      }
  });
  return picture;
}

double psnr_beside_object(const TriangleMesh& mesh, const SurfaceMoment& moment, const Picture& texture,
                          std::span<const Camera> cameras, const SeeObject& see) {
  constexpr float kWhite[3] = {1, 1, 1};
  double squares = 0, values = 0;
  for (const Camera& camera : cameras) {
    const std::vector<float> drawn = draw_mesh(mesh, moment.positions, texture, camera, kWhite);
    const SeenObject seen = see(camera, moment.time);
    for (size_t i = 0; i < drawn.size(); ++i) {
      const double difference = std::clamp(seen.colors[i] + 1 - seen.alpha[i / 3], 0.f, 1.f) - drawn[i];
      squares += difference * difference;
    }
    values += static_cast<double>(drawn.size());
  }
  return psnr_of(squares / std::max(values, 1.0));
}

}  // namespace eg4d::mesh
