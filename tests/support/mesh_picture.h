#pragma once

#include "io/image.h"
#include "mesh/triangle_mesh.h"
#include "scene/camera.h"

namespace eg4d::test {

// A mesh as a camera sees it, grey and lit from the camera; what is seen from behind is red.
Picture mesh_picture(const mesh::TriangleMesh& surface, const Camera& camera);

}  // namespace eg4d::test
