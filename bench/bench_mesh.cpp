// Surfaces of an animal whose surface is known (tests/support/creature.h), by every method, beside the truth.
// Distances are in thousandths of its length.
//   bench_mesh [Gaussians] [part of a surface's name] [folder for pictures]

#include <sys/resource.h>

#include <cstdlib>
#include <fstream>

#include "measure.h"
#include "mesh/surface.h"
#include "support/creature.h"
#include "support/mesh_distance.h"
#include "support/mesh_picture.h"

using namespace eg4d;

namespace {

constexpr double kLength = 1.9;
constexpr int kTimes = 5;

// The largest that the process was since the last call of reset, in MB.
void reset_peak() {
  std::ofstream("/proc/self/clear_refs") << "5";
}
double peak_megabytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::atof(line.c_str() + 6) / 1024;
  return 0;
}

struct Case {
  const char* name;
  mesh::SurfaceOptions options;
  bool shared;
};

void picture(const mesh::TriangleMesh& surface, const std::string& folder, const std::string& name) {
  if (folder.empty()) return;
  Intrinsics intrinsics;
  intrinsics.fov_x = 0.6;
  const Camera camera = make_camera(orbit_camera_to_world(-60, 20, 3.6), 640, 480, intrinsics);
  write_png(folder + "/" + name + ".png", test::mesh_picture(surface, camera));
}

}  // namespace

int main(int argc, char** argv) {
  const int count = argc > 1 ? std::atoi(argv[1]) : 30000;
  const std::string only = argc > 2 ? argv[2] : "", folder = argc > 3 ? argv[3] : "";
  const auto backend = make_cpu_backend();
  Progress quiet;
  std::vector<float> times;
  for (int i = 0; i < kTimes; ++i) times.push_back(static_cast<float>(i) / (kTimes - 1));
  const mesh::AnimatedMesh truth = test::creature_surface(320, times);
  const auto with = [](mesh::SurfaceMethod method, int resolution) {
    mesh::SurfaceOptions options;
    options.method = method;
    options.resolution = resolution;
    return options;
  };
  using enum mesh::SurfaceMethod;
  const Case cases[] = {{"paper", mesh::paper_options(), false},
                        {"density 128", with(density, 128), false},
                        {"density 256", with(density, 256), false},
                        {"depth 128", with(depth, 128), false},
                        {"depth 256", with(depth, 256), false},
                        {"density 256, one topology", with(density, 256), true},
                        {"depth 256, one topology", with(depth, 256), true}};
  const bench::Table table({"Gaussians", "surface", "chamfer", "99 % nearer than", "normals", "faces",
                            "pieces", "holes", "crossed", "s a time", "MB more"});
  for (const bool noise : {false, true}) {
    const mesh::Moments moments = test::creature_gaussians(count, noise, times);
    for (const Case& c : cases) {
      if (std::string(c.name).find(only) == std::string::npos) continue;
      reset_peak();
      const double before = peak_megabytes(), begin = bench::wall_seconds();
      std::vector<mesh::TriangleMesh> surfaces;
      if (c.shared) {
        const size_t reference = mesh::reference_moment(moments);
        const mesh::AnimatedMesh animated = mesh::carry_surface(
            mesh::make_surface(*backend, moments[reference], c.options, quiet), moments, reference, times);
        for (size_t i = 0; i < times.size(); ++i) {
          surfaces.push_back(animated.reference);
          surfaces.back().positions = animated.positions[i];
        }
      } else {
        for (const mesh::Ellipsoids& moment : moments)
          surfaces.push_back(mesh::make_surface(*backend, moment, c.options, quiet));
      }
      const double seconds = (bench::wall_seconds() - begin) / kTimes, memory = peak_megabytes() - before;
      double chamfer = 0, farthest = 0, normals = 0;
      for (size_t i = 0; i < surfaces.size(); ++i) {
        mesh::TriangleMesh exact = truth.reference;
        exact.positions = truth.positions[i];
        const test::SurfaceDistance d = test::surface_distance(surfaces[i], exact);
        chamfer += d.chamfer() / kTimes / kLength * 1000;
        farthest = std::max(farthest, d.farthest / kLength * 1000);
        normals += d.normals / kTimes;
      }
      const mesh::MeshFacts facts = mesh::facts_of(surfaces[1]);
      table.row({noise ? "noisy" : "clean", c.name, fmt::format("{:.2f}", chamfer),
                 fmt::format("{:.1f}", farthest), fmt::format("{:.4f}", normals),
                 fmt::format("{}", facts.faces), fmt::format("{}", facts.pieces),
                 fmt::format("{}", facts.holes), fmt::format("{}", facts.crossed),
                 fmt::format("{:.2f}", seconds), fmt::format("{:.0f}", memory)});
      std::fflush(stdout);
      picture(surfaces[1], folder, fmt::format("{}-{}", noise ? "noisy" : "clean", c.name));
    }
  }
  return 0;
}
