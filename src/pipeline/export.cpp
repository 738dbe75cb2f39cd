#include "pipeline/export.h"

#include <fmt/format.h>

#include <algorithm>

#include "backend/backend.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "io/folder.h"
#include "io/ply.h"
#include "pipeline/open_model.h"
#include "pipeline/python_model.h"
#include "splat/cloud_rotation.h"
#include "splat/gaussian_cloud.h"

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

}  // namespace

ExportResult export_model(Backend& backend, const ExportJob& job, Progress& progress) {
  const Model model = open_model(backend, job.model, job.choice);
  if (job.format == ExportFormat::python) return {write_python_model(model, job.output), 0};
  if (!has_extension(job.output, ".ply")) return export_sequence(backend, job, model, progress);
  write_gaussian_ply(job.output, turned_cloud_at(backend, job, model, static_cast<float>(job.time)));
  return {{job.output}, 0};
}

}  // namespace eg4d
