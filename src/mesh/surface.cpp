#include "mesh/surface.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "mesh/density_field.h"
#include "mesh/depth_field.h"
#include "mesh/mesh_simplification.h"
#include "mesh/mesh_smoothing.h"
#include "mesh/remeshing.h"

namespace eg4d::mesh {
namespace {

constexpr float kLevel = 0.5f;
constexpr float kMinOpacity = 0.005f;
constexpr size_t kMinFaces = 64;                      // of a piece
constexpr float kLeastScale = 0.5f, kTruncation = 3;  // in spacings of the lattice
constexpr float kPieceDiameter = 0.1f;                // of the whole's diagonal
constexpr int kSmoothingRounds = 8;
constexpr float kPixelsPerPoint = 1.5f;  // of a depth picture, along a side
constexpr int kMostPixels = 768;

// Of EG4D's mesh export.
constexpr int kPaperResolution = 128, kPaperFaces = 100000;
constexpr float kPaperSide = 1.8f;                           // of the centres' box, in a lattice from -1 to 1
constexpr float kPaperMerge = 0.01f, kPaperDiameter = 0.2f;  // of the diagonal
constexpr float kPaperEdge = 0.015f;                         // scene units
constexpr int kPaperRounds = 3;
constexpr float kPaperWeight = 0.5f;

void require_a_surface(const TriangleMesh& mesh, const char* why) {
  if (mesh.triangles.empty()) throw Error(std::string("there is no surface to make: ") + why);
}

TriangleMesh density_surface(const Ellipsoids& ellipsoids, const Lattice& lattice, float min_scale) {
  const DensityField field(ellipsoids, lattice, min_scale);
  TriangleMesh mesh = iso_surface(lattice, kLevel, std::cref(field), field.blocks());
  require_a_surface(
      mesh, "nowhere are the object's Gaussians as dense as 0.5; they are too faint or too far apart");
  return mesh;
}

int picture_size(int resolution) {
  return std::min(static_cast<int>(static_cast<float>(resolution) * kPixelsPerPoint), kMostPixels);
}

TriangleMesh depth_surface(Backend& backend, const Ellipsoids& ellipsoids, const Box& box,
                           const Lattice& lattice, const SurfaceOptions& options, Progress& progress) {
  const float truncation = kTruncation * lattice.spacing;
  std::vector<DepthView> views = render_depths(backend, ellipsoids, box, options.views,
                                               picture_size(options.resolution), 2 * truncation, progress);
  const DepthField field(lattice, std::move(views), truncation);
  // The surface runs through Gaussians, from wherever it is found.
  const DensityField gaussians(ellipsoids, lattice, 0);
  TriangleMesh mesh = iso_surface(lattice, 0, std::cref(field), gaussians.blocks());
  require_a_surface(mesh, "nowhere do the object's Gaussians stop half of the light");
  return mesh;
}

// Around the centres, as published; the lattice has room beside them for a ninth of their size.
Lattice paper_lattice(const Ellipsoids& ellipsoids) {
  Box centers = {ellipsoids.means[0], ellipsoids.means[0]};
  for (const Vec3f& p : ellipsoids.means)
    for (size_t axis = 0; axis < 3; ++axis) {
      centers.least.data()[axis] = std::min(centers.least.data()[axis], p.data()[axis]);
      centers.most.data()[axis] = std::max(centers.most.data()[axis], p.data()[axis]);
    }
  const float side = std::max(centers.longest_side(), 1e-6f) * 2 / kPaperSide;
  Lattice lattice;
  lattice.points = {kPaperResolution, kPaperResolution, kPaperResolution};
  lattice.spacing = side / (kPaperResolution - 1);
  lattice.origin = centers.center() - Vec3f{side, side, side} * 0.5f;
  return lattice;
}

TriangleMesh paper_surface(const Ellipsoids& ellipsoids) {
  const Lattice lattice = paper_lattice(ellipsoids);
  TriangleMesh mesh = density_surface(ellipsoids, lattice, 1e-4f * lattice.spacing);
  merge_close(mesh, kPaperMerge * length(box_of(mesh).size()));
  keep_large_pieces(mesh, kPaperDiameter, kMinFaces, false);
  repair_crossed(mesh);
  remesh(mesh, kPaperEdge, kPaperRounds);
  simplify(mesh, kPaperFaces);
  smooth_laplacian(mesh, kPaperRounds, kPaperWeight, true);
  return mesh;
}

}  // namespace

SurfaceOptions paper_options() {
  return {SurfaceMethod::paper, kPaperResolution, kPaperFaces, 0};
}

size_t surface_memory(const SurfaceOptions& options, size_t gaussians) {
  // Cells that the surface crosses, of which an object has about 3 per square of the lattice's side, with
  // vertices, triangles and the lists that join them; measured with bench_mesh.
  const auto side = static_cast<size_t>(options.resolution);
  size_t bytes = side * side * 3 * 150 + gaussians * 300;
  if (options.method == SurfaceMethod::depth) {
    const auto pixels = static_cast<size_t>(picture_size(options.resolution));
    bytes += pixels * pixels * sizeof(float) * static_cast<size_t>(options.views);
  }
  return bytes;
}

TriangleMesh make_surface(Backend& backend, const Ellipsoids& ellipsoids, const SurfaceOptions& options,
                          Progress& progress) {
  const Extent extent = extent_of(ellipsoids, kMinOpacity);
  Ellipsoids object = select(ellipsoids, extent.inside);
  TriangleMesh mesh;
  if (options.method == SurfaceMethod::paper) {
    mesh = paper_surface(object);
  } else {
    // About the origin and of size 2: what renders Gaussians leaves out those that are nearer than 0.2.
    const Vec3f middle = extent.box.center();
    const float size = extent.box.longest_side() / 2;
    if (!std::isfinite(size) || !(size > 0))
      throw Error("there is no surface to make: the Gaussians have no size, or none that is finite");
    for (Vec3f& p : object.means) p = (p - middle) * (1 / size);
    for (Vec3f& s : object.scales) s = s * (1 / size);
    const Vec3f half = extent.box.size() * (0.5f / size);
    const Box box = {half * -1, half};
    const Lattice lattice = lattice_around(box, options.resolution);
    mesh = options.method == SurfaceMethod::depth
               ? depth_surface(backend, object, box, lattice, options, progress)
               : density_surface(object, lattice, kLeastScale * lattice.spacing);
    for (Vec3f& p : mesh.positions) p = p * size + middle;
    keep_large_pieces(mesh, kPieceDiameter, kMinFaces, true);
    smooth_taubin(mesh, kSmoothingRounds);
    simplify(mesh, static_cast<size_t>(options.faces));
  }
  require_a_surface(mesh, "cleaning left nothing of it");
  mesh.normals = vertex_normals(mesh.positions, mesh.triangles);
  return mesh;
}

}  // namespace eg4d::mesh
