#pragma once

#include <functional>
#include <span>

#include "core/progress.h"
#include "io/image.h"
#include "mesh/triangle_mesh.h"
#include "scene/camera.h"
#include "splat/model.h"

namespace eg4d::mesh {

// What a camera sees of an object before black: of each pixel how much of it is object (alpha), its colour
// times alpha, and its view z times alpha.
struct SeenObject {
  std::vector<float> colors;  // [H,W,3], of an opaque object in [0,1]
  std::vector<float> depth;   // [H,W]
  std::vector<float> alpha;   // [H,W]
};
// The object at a time in [0,1].
using SeeObject = std::function<SeenObject(const Camera& camera, float time)>;

// The surface at one time, whose colours are looked at then.
struct SurfaceMoment {
  float time = 0;
  std::span<const Vec3f> positions;  // [positions of the mesh]
  std::span<const Vec3f> normals;    // likewise, length 1
};

struct BakeOptions {
  int size = 1024;      // texels a side, 16 to 8192
  int best_views = 16;  // that a texel's colour is made of, 1 to 64
};

struct BakedTexture {
  Picture texture;                             // RGB, display values (sRGB), all texels filled
  std::vector<std::array<uint8_t, 3>> colors;  // [positions of the mesh] likewise, for files without textures
  double seen = 0;                             // part of the surface's texels that some camera saw
};

// The colours of a surface with uvs, from pictures of the object that all cameras take at each moment. A
// camera sees a texel when no triangle is in front of it, the object's own depth agrees, and it looks at it
// from less than 80 degrees. Of the views that see a texel best (nearest to its normal), at any moment, those
// far from their median count little. Texels that none sees take the colour of the surface around them, and
// what lies between charts that of the nearest texel. Memory: about 30 + 8 · best_views bytes for each texel.
// Throws Error when the mesh is not sound or has no uvs, Interrupted.
BakedTexture bake_texture(const TriangleMesh& mesh, std::span<const SurfaceMoment> moments,
                          std::span<const Camera> cameras, const SeeObject& see, const BakeOptions& options,
                          Progress& progress);
// The same for plain colours of positions: no uvs are needed, and there is no texture.
BakedTexture bake_colors(const TriangleMesh& mesh, std::span<const SurfaceMoment> moments,
                         std::span<const Camera> cameras, const SeeObject& see, const BakeOptions& options,
                         Progress& progress);

// Cameras that see all of the positions, spread evenly over all directions, square pictures.
std::vector<Camera> cameras_around(std::span<const Vec3f> positions, int count, int pixels);
// The 326 cameras of EG4D's mesh export: 576×576 at radius 4 about the origin, elevations to ±45 and the
// poles.
std::vector<Camera> paper_cameras(double fov_x);

// A model of Gaussians as the above look at it. Both must outlive the function, which keeps one renderer.
SeeObject see_model(Backend& backend, const Model& model);

}  // namespace eg4d::mesh
