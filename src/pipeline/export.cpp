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
#include "splat/gaussian_cloud.h"

namespace eg4d {
namespace {

using Paths = std::vector<std::filesystem::path>;

Paths export_sequence(Backend& backend, const ExportJob& job, const Model& model, Progress& progress) {
  const int frames = job.frames > 0 ? job.frames : std::max(model.info.frame_count, 1);
  make_folder(job.output);
  progress.begin(frames, "exporting");
  Paths files;
  for (int i = 0; i < frames; ++i) {
    if (interrupt_requested()) throw Interrupted(fmt::format("stopped after {} of {} frames", i, frames));
    const float time = frames > 1 ? static_cast<float>(i) / static_cast<float>(frames - 1) : 0;
    files.push_back(job.output / fmt::format("frame_{:04}.ply", i));
    write_gaussian_ply(files.back(), cloud_at(backend, model, time));
    progress.update(i + 1);
  }
  return files;
}

}  // namespace

Paths export_model(Backend& backend, const ExportJob& job, Progress& progress) {
  const Model model = open_model(backend, job.model, job.choice);
  if (job.format == ExportFormat::python) return write_python_model(model, job.output);
  if (job.output.extension() != ".ply") return export_sequence(backend, job, model, progress);
  write_gaussian_ply(job.output, cloud_at(backend, model, static_cast<float>(job.time)));
  return {job.output};
}

}  // namespace eg4d
