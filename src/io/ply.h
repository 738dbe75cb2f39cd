#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "io/mapped_file.h"

namespace eg4d {

// 3D Gaussians in host memory, one row each, before their activations (Kerbl et al. 2023, "3D Gaussian
// Splatting").
struct GaussianCloud {
  std::vector<float> positions;  // [N,3]
  std::vector<float> sh_dc;      // [N,3]
  std::vector<float>
      sh_rest;  // [N,15,3] coefficients 1..15, then colour channel; zero above the file's degree
  std::vector<float> opacity_logits;  // [N]
  std::vector<float> log_scales;      // [N,3]
  std::vector<float> quaternions;     // [N,4] w,x,y,z, not normalised

  GaussianCloud() = default;
  explicit GaussianCloud(int64_t count);  // zeros
  int64_t count() const { return static_cast<int64_t>(opacity_logits.size()); }
};

// The 3DGS layout: x y z, f_dc_0..2, f_rest_i, opacity, scale_0..2, rot_0..3, where f_rest holds one colour
// channel after the other: f_rest_[channel·15 + coefficient] at degree 3 (·8 and ·3 at degrees 2 and 1).
// Binary little-endian or ASCII, any number type, any order; other properties and elements are skipped.
// Throws Error, one sentence naming the file (and the vertex of a NaN), when it is damaged, truncated or
// lacks a property.
GaussianCloud read_gaussian_ply(const std::filesystem::path& path);
GaussianCloud decode_gaussian_ply(Bytes file, const std::string& name);

// Binary, float, in the order that all viewers know: x y z nx ny nz f_dc f_rest opacity scale rot; normals
// are zero. Atomic. Throws Error.
void write_gaussian_ply(const std::filesystem::path& path, const GaussianCloud& cloud);

struct PointCloud {
  std::vector<float> positions;  // [N,3]
  std::vector<float> colors;     // [N,3] in [0,1]; 0.5 when the file has none

  int64_t count() const { return static_cast<int64_t>(positions.size() / 3); }
};

// x y z, red green blue: whole numbers are divided by the type's largest value, floating point is taken as it
// is.
PointCloud read_point_ply(const std::filesystem::path& path);
PointCloud decode_point_ply(Bytes file, const std::string& name);
// Binary: float positions, zero normals, uchar colors, as points3d.ply of the D-NeRF datasets. Atomic.
void write_point_ply(const std::filesystem::path& path, const PointCloud& cloud);

}  // namespace eg4d
