#pragma once

#include <optional>
#include <vector>

#include "backend/splat_ops.h"
#include "core/matrix.h"

namespace eg4d {

// A pinhole camera as the rasteriser takes it. Matrices are for row vectors: p_view = [p 1]·world_to_view.
struct Camera {
  int width = 0, height = 0;       // pixels
  double fov_x = 0, fov_y = 0;     // radians, whole angle
  float world_to_view[16] = {};    // x right, y down, z forward
  float projection[16] = {};       // view → clip
  float full_projection[16] = {};  // world_to_view · projection
  float center[3] = {};            // in the world

  // The same camera with another picture size (the field of view stays).
  Camera resized(int new_width, int new_height) const;
  // Without the size, which does not change it.
  RasterizeCamera rasterize_camera(const float background[3]) const;
};

// How the vertical field of view follows from the horizontal one.
enum class VerticalFov {
  from_aspect,        // 2·atan(tan(fov_x/2)·height/width): square pixels
  reference_swapped,  // the published code's rule with width and height exchanged; the same for square
                      // pictures
};

// Intrinsics of one picture. Unset values follow from fov_x and the picture's size.
struct Intrinsics {
  double fov_x = 0;                          // radians
  std::optional<double> fov_y;               // radians
  std::optional<double> center_x, center_y;  // principal point, pixels; default: the middle
};

// camera_to_world: OpenGL axes (x right, y up, looking along -z), as the D-NeRF layout stores it. Near plane
// 0.01, far plane 100. Throws Error when the matrix is singular or not finite.
Camera make_camera(const Matrix4& camera_to_world, int width, int height, const Intrinsics& intrinsics,
                   VerticalFov rule = VerticalFov::from_aspect);

// A camera that circles the origin, z up: radius in scene units, angles in degrees. Azimuth 0 looks along -x.
Matrix4 orbit_camera_to_world(double azimuth, double elevation, double radius);

// 1.1 × the largest distance of the camera centres from their mean: the scene's scale for learning rates and
// density control (3D Gaussian splatting's "cameras extent").
double cameras_extent(const std::vector<Camera>& cameras);

// camera_angle_x of EG4D's data preparation.
inline constexpr double kOrbitFovX = 0.6911112070083618;
inline constexpr double kOrbitRadius = 4.0;

}  // namespace eg4d
