#include "app/mesh_options.h"

#include <fmt/format.h>

#include "core/error.h"
#include "formats/splat_file.h"
#include "io/folder.h"

namespace eg4d {
namespace {

constexpr const char* kOptions[] = {"resolution", "faces", "views", "topology", "texture"};

bool is_one_of(const std::filesystem::path& file, std::initializer_list<const char*> extensions) {
  for (const char* extension : extensions)
    if (has_extension(file, extension)) return true;
  return false;
}

std::string dashed(std::string key) {
  for (char& c : key)
    if (c == '_') c = '-';
  return key;
}

}  // namespace

void MeshOptions::declare(Arguments& arguments) {
  ConfigSchema& options = arguments.options;
  options.add(
      "mesh", mesh_,
      {{"none", Mesh::none}, {"depth", Mesh::depth}, {"density", Mesh::density}, {"paper", Mesh::paper}},
      "a surface with a texture instead of Gaussians, as .glb, .obj, .usda or .ply, or in a folder: depth "
      "(where it is seen to be from all around), density (where Gaussians are dense), paper (as the "
      "published code does it)");
  options.add("resolution", job_.surface.resolution, {16, 512},
              "points along the longest side of the lattice that a surface is found on");
  options.add("faces", job_.surface.faces, {100, 1e7}, "triangles that a surface has at most, about");
  options.add("views", job_.surface.views, {8, 1024}, "cameras around the object, of --mesh depth");
  options.add(
      "topology", job_.topology, {{"shared", Topology::shared}, {"per-frame", Topology::per_frame}},
      "shared: one surface and texture that move through all times; per-frame: each time has its own");
  options.add("texture", job_.texture, {64, 8192}, "texels along a side of a surface's texture");
}

bool MeshOptions::wanted(const Arguments& arguments, const ExportJob& job) const {
  if (arguments.given("mesh")) return mesh_ != Mesh::none;
  return has_extension(job.output, ".obj") || job.format == ExportFormat::obj;
}

void MeshOptions::refuse(const Arguments& arguments) {
  for (const char* option : kOptions)
    if (arguments.given(option))
      throw UsageError(fmt::format("--{} is for surfaces: add --mesh depth", option));
}

void MeshOptions::apply(const Arguments& arguments, ExportJob& job) const {
  job.mesh = job_;
  mesh::SurfaceOptions& surface = job.mesh->surface;
  if (mesh_ == Mesh::density) surface.method = mesh::SurfaceMethod::density;
  if (mesh_ == Mesh::paper) {
    surface = mesh::paper_options();
    for (const char* option : {"resolution", "faces"})
      if (arguments.given(option))
        throw UsageError(fmt::format("--mesh paper has its own {}; it goes with depth and density", option));
  }
  if (arguments.given("views") && surface.method != mesh::SurfaceMethod::depth)
    throw UsageError("--views is of --mesh depth");
  for (const char* option : {"sh_degree", "min_opacity", "error_bound", "sh_bits", "spz_version", "palette"})
    if (arguments.given(option))
      throw UsageError(fmt::format("--{} is for files of Gaussians, and not for a mesh", dashed(option)));
  if (job.up == UpAxis::minus_y) throw UsageError("a mesh has y or z up; give --up y or --up z");

  const bool folder = !job.output.has_extension();
  if (folder) {
    // PLY is what a folder receives when nothing is said, which of a mesh means OBJ.
    if (!arguments.given("format")) job.format = ExportFormat::obj;
    const bool glb = job.format >= ExportFormat::ply &&
                     &splat::splat_format("glb") == &splat::splat_formats()[static_cast<size_t>(job.format)];
    if (job.format != ExportFormat::obj && job.format != ExportFormat::ply && !glb)
      throw UsageError("a folder receives meshes as --format obj, glb or ply");
    if (arguments.given("time"))
      throw UsageError("--time asks for one moment; give -o a name that ends in .glb, .obj, .ply or .usda");
    if (glb && job.up == UpAxis::z) throw UsageError("glTF has y up; leave --up out");
    return;
  }
  if (!is_one_of(job.output, {".glb", ".obj", ".ply", ".usda"}) || is_one_of(job.output, {".compressed.ply"}))
    throw UsageError(
        fmt::format("'{}' is no file of a mesh; give a name that ends in .glb, .obj, .ply or .usda, "
                    "or a folder (a name without extension)",
                    job.output.string()));
  if (arguments.given("format"))
    throw UsageError("--format says what a folder receives; a file's name says what it is");
  if (has_extension(job.output, ".glb") && job.up == UpAxis::z)
    throw UsageError("glTF has y up; leave --up out");
  const bool may_move = is_one_of(job.output, {".glb", ".usda"});
  job.one_moment = !may_move || arguments.given("time");
  if (job.one_moment && arguments.given("frames"))
    throw UsageError(may_move ? "--frames is for all of the time, and --time for one moment"
                              : "--frames asks for a sequence; give -o a folder (a name without extension)");
  if (job.one_moment && arguments.given("fps")) throw UsageError("--fps is for a file of all time");
  if (!job.one_moment && arguments.given("topology") && job.mesh->topology == Topology::per_frame)
    throw UsageError(
        "--topology per-frame makes a file of each time; give -o a folder (a name without extension)");
}

}  // namespace eg4d
