#pragma once

#include <span>
#include <vector>

namespace eg4d {

// Sinusoidal embedding of numbers (also of time steps and frame indices): for each value the cosines, then
// the sines, of value·10000^(-i/half), i < half = width/2. [count, width]; an odd width gets a zero at its
// end.
std::vector<float> sinusoidal_embedding(std::span<const double> values, int width);

// The vector condition of SVD: fps_id, motion_bucket_id, cond_aug, 256 numbers each; the same for every
// frame. [frames, 768].
struct SvdMotion {
  double fps_id = 6;
  double motion_bucket_id = 127;
  double cond_aug = 0.02;  // standard deviation of the noise on the conditioning picture
};
std::vector<float> svd_vector(const SvdMotion& motion, int frames);

// The orbit that SV3D paints: `frames` azimuths 360·k/frames (k = 1…frames, the last is the input's own,
// relative to which they are given) and one elevation, degrees. Both in radians, the polar angle counted from
// the pole.
struct OrbitAngles {
  std::vector<double> polar, azimuth;
};
OrbitAngles sv3d_orbit(int frames, double elevation_degrees);

inline constexpr double kSv3dConditioningNoise = 1e-5;  // SV3D's cond_aug

// The vector conditions of SV3D. sv3d_u: cond_aug, [frames, 256]. sv3d_p: cond_aug (256), polar (512),
// azimuth (512), [frames, 1280].
std::vector<float> sv3d_u_vector(double cond_aug, int frames);
std::vector<float> sv3d_p_vector(double cond_aug, const OrbitAngles& orbit);

}  // namespace eg4d
