#pragma once

#include <span>

#include "mesh/texture_bake.h"

namespace eg4d::mesh {

// A textured mesh as a camera sees it, without lights, four samples a pixel: [H,W,3] in [0,1] on a
// background.
std::vector<float> draw_mesh(const TriangleMesh& mesh, std::span<const Vec3f> positions,
                             const Picture& texture, const Camera& camera, const float background[3]);

// How such pictures of it differ from the object's own, in dB, over all cameras; both on white.
double psnr_beside_object(const TriangleMesh& mesh, const SurfaceMoment& moment, const Picture& texture,
                          std::span<const Camera> cameras, const SeeObject& see);

}  // namespace eg4d::mesh
