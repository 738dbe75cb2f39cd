#include "pipeline/export_mesh.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/byte_size.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "formats/splat_file.h"
#include "io/folder.h"
#include "mesh/carried_surface.h"
#include "mesh/draw_mesh.h"
#include "mesh/mesh_writers.h"
#include "mesh/texture_atlas.h"
#include "mesh/texture_bake.h"
#include "splat/evaluation.h"

namespace eg4d {
namespace {

constexpr int kTexturePixels = 640;
constexpr int kCheckViews = 6, kCheckPixels = 512;
constexpr size_t kTextureMoments = 4;  // of one topology, whose colours are looked at

// A surface at its times, as files take it.
struct Textured {
  mesh::AnimatedMesh mesh;
  mesh::BakedTexture baked;
};

class MeshExport {
 public:
  MeshExport(Backend& backend, const ExportJob& job, const Model& model, Progress& progress)
      : backend_(backend),
        job_(job),
        model_(model),
        progress_(progress),
        see_(mesh::see_model(backend, model)) {
    writing_.y_up = job.up != UpAxis::z;
    writing_.scale = job.scale;
    writing_.fps = job.fps;
  }

  // The Gaussians at the times; refuses numbers that are not finite.
  mesh::Moments moments(const std::vector<float>& times) {
    const ReconstructOptions& options = model_.info.options;
    Renderer renderer(backend_, render_options(options));
    mesh::Moments all;
    progress_.begin(static_cast<int64_t>(times.size()), "motion");
    for (const float time : times) {
      if (interrupt_requested()) throw Interrupted("stopped before the file was complete");
      renderer.deform(model_.gaussians, model_.active_field(), time, color_time(options, time), false);
      all.push_back(mesh::ellipsoids_of(renderer.deformed()));
      progress_.update(static_cast<int64_t>(all.size()));
    }
    return all;
  }

  // One topology through all the times.
  mesh::AnimatedMesh surface(const std::vector<float>& times) {
    const mesh::Moments at = moments(times);
    const size_t reference = mesh::reference_moment(at);
    return mesh::carry_surface(mesh::make_surface(backend_, at[reference], job_.mesh->surface, progress_), at,
                               reference, times);
  }

  Textured textured(const mesh::AnimatedMesh& bare, bool with_texture) {
    facts_ = mesh::facts_of(bare.reference);
    Textured result;
    result.mesh = bare;
    if (with_texture)
      result.mesh = mesh::with_atlas(bare, mesh::make_atlas(bare.reference, {.size = job_.mesh->texture}));
    std::vector<mesh::SurfaceMoment> looked_at;
    const size_t count = std::min(kTextureMoments, bare.times.size());
    for (size_t i = 0; i < count; ++i) {
      const size_t m = count == 1 ? 0 : i * (bare.times.size() - 1) / (count - 1);
      looked_at.push_back({bare.times[m], result.mesh.positions[m], result.mesh.normals[m]});
    }
    const std::vector<Camera> cameras =
        job_.mesh->surface.method == mesh::SurfaceMethod::paper
            ? mesh::paper_cameras(model_.info.fov_x)
            : mesh::cameras_around(everywhere(bare), job_.mesh->texture_views, kTexturePixels);
    const mesh::BakeOptions options{.size = job_.mesh->texture};
    result.baked =
        with_texture ? mesh::bake_texture(result.mesh.reference, looked_at, cameras, see_, options, progress_)
                     : mesh::bake_colors(result.mesh.reference, looked_at, cameras, see_, options, progress_);
    seen_ = result.baked.seen;
    return result;
  }

  // One moment of it as one file.
  void write(const std::filesystem::path& file, const Textured& object, size_t moment) const {
    mesh::TriangleMesh still = object.mesh.reference;
    still.positions = object.mesh.positions[moment];
    still.normals = object.mesh.normals[moment];
    if (has_extension(file, ".glb"))
      mesh::write_mesh_glb(file, still, object.baked.texture, writing_);
    else if (has_extension(file, ".obj"))
      mesh::write_mesh_obj(file, still, object.baked.texture, writing_);
    else
      mesh::write_mesh_ply(file, still, object.baked.colors, writing_);
  }

  // How the middle moment looks beside the model.
  std::optional<double> psnr(const Textured& object) const {
    if (!job_.check || object.baked.texture.data.empty()) return {};
    const mesh::AnimatedMesh& surface = object.mesh;
    const size_t m = surface.times.size() / 2;
    return mesh::psnr_beside_object(
        surface.reference, {surface.times[m], surface.positions[m], surface.normals[m]}, object.baked.texture,
        mesh::cameras_around(surface.positions[m], kCheckViews, kCheckPixels), see_);
  }

  const mesh::MeshWriting& writing() const { return writing_; }
  std::string said() const {
    return mesh::facts_text(facts_) + fmt::format(", {:.1f} % of it seen by a camera", 100 * seen_);
  }

 private:
  // The cameras are the same at all moments.
  static std::vector<mesh::Vec3f> everywhere(const mesh::AnimatedMesh& surface) {
    std::vector<mesh::Vec3f> all;
    for (const auto& positions : surface.positions) all.insert(all.end(), positions.begin(), positions.end());
    return all;
  }

  Backend& backend_;
  const ExportJob& job_;
  const Model& model_;
  Progress& progress_;
  const mesh::SeeObject see_;
  mesh::MeshWriting writing_;
  mesh::MeshFacts facts_;
  double seen_ = 0;
};

// OBJ and USD have files beside them.
void add_companions(std::vector<std::filesystem::path>& files, const std::filesystem::path& file) {
  files.push_back(file);
  const auto beside = [&](const char* extension) {
    std::filesystem::path other = file;
    files.push_back(other.replace_extension(extension));
  };
  if (has_extension(file, ".obj")) beside(".mtl");
  if (has_extension(file, ".obj") || has_extension(file, ".usda")) beside(".png");
}

ExportResult export_folder(const ExportJob& job, const std::vector<float>& times, MeshExport& work,
                           Progress& progress) {
  const char* extension = mesh_extension(job.format);
  const bool with_texture = job.format != ExportFormat::ply;
  make_folder(job.output);
  ExportResult result;
  std::optional<Textured> shared;
  if (job.mesh->topology == Topology::shared) shared = work.textured(work.surface(times), with_texture);
  if (shared && job.format == ExportFormat::obj) {
    result.files = mesh::write_obj_sequence(job.output, shared->mesh, shared->baked.texture, work.writing());
  } else {
    for (size_t i = 0; i < times.size(); ++i) {
      if (interrupt_requested())
        throw Interrupted(fmt::format("stopped after {} of {} frames", i, times.size()));
      const std::filesystem::path file = job.output / fmt::format("frame_{:04}{}", i, extension);
      if (shared) {
        work.write(file, *shared, i);
      } else {
        progress.message(fmt::format("frame {} of {}", i + 1, times.size()));
        work.write(file, work.textured(work.surface({times[i]}), with_texture), 0);
      }
      add_companions(result.files, file);
    }
  }
  if (shared) result.psnr = work.psnr(*shared);
  result.removed = remove_frames_from(job.output, extension, static_cast<int>(times.size()));
  result.surface = work.said();
  return result;
}

}  // namespace

const char* mesh_extension(ExportFormat format) {
  if (format == ExportFormat::obj) return ".obj";
  return format == ExportFormat::ply ? ".ply" : ".glb";
}

ExportResult export_mesh(Backend& backend, const ExportJob& job, const Model& model, Progress& progress) {
  const size_t memory = mesh::surface_memory(job.mesh->surface, static_cast<size_t>(model.gaussians.count()));
  progress.message(
      fmt::format("a surface of {} points along its longest side, which takes about {} of memory",
                  job.mesh->surface.resolution, byte_size_text(memory)));
  MeshExport work(backend, job, model, progress);
  const int frames = job.frames > 0 ? job.frames : std::max(model.info.frame_count, 1);
  std::vector<float> times = {static_cast<float>(job.time)};
  if (!job.one_moment && model.active_field() && frames > 1) {
    times.assign(static_cast<size_t>(frames), 0.f);
    for (size_t i = 1; i < times.size(); ++i)
      times[i] = static_cast<float>(i) / static_cast<float>(frames - 1);
  }
  if (!job.output.has_extension()) return export_folder(job, times, work, progress);

  const bool with_texture = !has_extension(job.output, ".ply");
  const Textured object = work.textured(work.surface(times), with_texture);
  if (has_extension(job.output, ".usda"))
    mesh::write_mesh_usd(job.output, object.mesh, object.baked.texture, work.writing());
  else if (times.size() > 1)
    mesh::write_animated_glb(job.output, object.mesh, object.baked.texture, work.writing());
  else
    work.write(job.output, object, 0);
  ExportResult result;
  add_companions(result.files, job.output);
  result.psnr = work.psnr(object);
  result.surface = work.said();
  return result;
}

}  // namespace eg4d
