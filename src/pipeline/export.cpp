#include "pipeline/export.h"

#include <fmt/format.h>

#include <algorithm>

#include "backend/backend.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "io/atomic_file.h"
#include "io/folder.h"
#include "io/ply.h"
#include "pipeline/open_model.h"
#include "pipeline/python_model.h"
#include "pipeline/view.h"
#include "pipeline/view_info.h"
#include "splat/cloud_rotation.h"
#include "splat/gaussian_cloud.h"
#include "view/viewer_page.h"

namespace eg4d {
namespace {

GaussianCloud turned_cloud_at(Backend& backend, const ExportJob& job, const Model& model, float time) {
  GaussianCloud cloud = cloud_at(backend, model, time);
  // z becomes y by a quarter turn about x, and -y by one the other way.
  if (job.up == UpAxis::y) rotate_cloud(cloud, {1, 0, 0}, -90);
  if (job.up == UpAxis::minus_y) rotate_cloud(cloud, {1, 0, 0}, 90);
  return cloud;
}

ExportResult export_sequence(Backend& backend, const ExportJob& job, const Model& model, Progress& progress) {
  const int frames = job.frames > 0 ? job.frames : std::max(model.info.frame_count, 1);
  make_folder(job.output);
  progress.begin(frames, "exporting");
  ExportResult result;
  for (int i = 0; i < frames; ++i) {
    if (interrupt_requested()) throw Interrupted(fmt::format("stopped after {} of {} frames", i, frames));
    const float time = frames > 1 ? static_cast<float>(i) / static_cast<float>(frames - 1) : 0;
    result.files.push_back(job.output / fmt::format("frame_{:04}.ply", i));
    write_gaussian_ply(result.files.back(), turned_cloud_at(backend, job, model, time));
    progress.update(i + 1);
  }
  result.removed = remove_frames_from(job.output, ".ply", frames);
  return result;
}

// Colours of each moment's own time are a fifth of the file: they go along where they are what is shown.
ExportResult export_page(Backend& backend, const ExportJob& job, const Model& model, Progress& progress) {
  const ViewerPage page = ViewerPage::load();
  const bool own_colors = model.info.options.deformation.color_time == ColorTime::own;
  const std::string scene = scene_file_of_model(backend, model, job.frames, own_colors, progress);
  const std::string info = viewer_info(model.info, job.model, model_place(job.model, job.choice.which), {});
  write_file_atomically(job.output, page.with_object(info, std::as_bytes(std::span(scene))));
  return {{job.output}, 0};
}

}  // namespace

ExportResult export_model(Backend& backend, const ExportJob& job, Progress& progress) {
  const Model model = open_model(backend, job.model, job.choice);
  if (job.format == ExportFormat::python) return {write_python_model(model, job.output), 0};
  if (has_extension(job.output, ".html")) return export_page(backend, job, model, progress);
  if (!has_extension(job.output, ".ply")) return export_sequence(backend, job, model, progress);
  write_gaussian_ply(job.output, turned_cloud_at(backend, job, model, static_cast<float>(job.time)));
  return {{job.output}, 0};
}

}  // namespace eg4d
