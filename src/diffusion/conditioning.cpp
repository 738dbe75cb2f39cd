#include "diffusion/conditioning.h"

#include <cmath>
#include <numbers>

#include "core/sinusoids.h"

namespace eg4d {
namespace {

// Concatenates blocks of equal row count along their columns.
std::vector<float> join_columns(const std::vector<std::vector<float>>& blocks, size_t rows) {
  std::vector<float> joined;
  for (size_t row = 0; row < rows; ++row) {
    for (const auto& block : blocks) {
      const size_t width = block.size() / rows;
      joined.insert(joined.end(), block.begin() + row * width, block.begin() + (row + 1) * width);
    }
  }
  return joined;
}

std::vector<float> embed_constant(double value, int frames, int width) {
  return sinusoidal_embedding(std::vector<double>(static_cast<size_t>(frames), value), width);
}

}  // namespace

std::vector<float> sinusoidal_embedding(std::span<const double> values, int width) {
  std::vector<float> embedding(values.size() * static_cast<size_t>(width));
  for (size_t row = 0; row < values.size(); ++row)
    write_sinusoids(static_cast<float>(values[row]), width,
                    embedding.data() + row * static_cast<size_t>(width));
  return embedding;
}

std::vector<float> svd_vector(const SvdMotion& motion, int frames) {
  return join_columns(
      {embed_constant(motion.fps_id, frames, 256), embed_constant(motion.motion_bucket_id, frames, 256),
       embed_constant(motion.cond_aug, frames, 256)},
      static_cast<size_t>(frames));
}

OrbitAngles sv3d_orbit(int frames, double elevation_degrees) {
  OrbitAngles orbit;
  const double radians = std::numbers::pi / 180;
  orbit.polar.assign(static_cast<size_t>(frames), (90 - elevation_degrees) * radians);
  // The last azimuth is 360 modulo 360 = 0, so the others are relative to it already, and ascending.
  for (int k = 1; k <= frames; ++k) orbit.azimuth.push_back(std::fmod(360.0 * k / frames, 360.0) * radians);
  return orbit;
}

std::vector<float> sv3d_u_vector(double cond_aug, int frames) {
  return embed_constant(cond_aug, frames, 256);
}

std::vector<float> sv3d_p_vector(double cond_aug, const OrbitAngles& orbit) {
  const int frames = static_cast<int>(orbit.azimuth.size());
  return join_columns({embed_constant(cond_aug, frames, 256), sinusoidal_embedding(orbit.polar, 512),
                       sinusoidal_embedding(orbit.azimuth, 512)},
                      static_cast<size_t>(frames));
}

}  // namespace eg4d
