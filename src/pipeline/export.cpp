#include "pipeline/export.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "backend/backend.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "formats/splat_file.h"
#include "formats/splat_numbers.h"
#include "io/atomic_file.h"
#include "io/folder.h"
#include "pipeline/export_check.h"
#include "pipeline/export_mesh.h"
#include "pipeline/open_model.h"
#include "pipeline/python_model.h"
#include "pipeline/view.h"
#include "pipeline/view_info.h"
#include "splat/cloud_changes.h"
#include "splat/gaussian_cloud.h"
#include "view/viewer_page.h"

namespace eg4d {
namespace {

// The model's moments as they go into a file of Gaussians.
class Moments {
 public:
  Moments(Backend& backend, const ExportJob& job, const Model& model, UpAxis up)
      : backend_(backend), job_(job), model_(model), up_(up) {}

  // Keeps the Gaussians that are opaque enough at one of these times.
  void prune(const std::vector<float>& times, ExportResult& result) {
    result.gaussians = model_.gaussians.count();
    if (job_.min_opacity <= 0) return;
    std::vector<float> most(static_cast<size_t>(model_.gaussians.count()), 0.f);
    for (const float time : times) {
      const std::vector<float> logits = cloud_at(backend_, model_, time).opacity_logits;
      for (size_t i = 0; i < most.size(); ++i) most[i] = std::max(most[i], splat::sigmoid(logits[i]));
    }
    rows_.emplace();
    for (size_t i = 0; i < most.size(); ++i)
      if (most[i] >= job_.min_opacity) rows_->push_back(static_cast<uint32_t>(i));
    if (rows_->empty())
      throw Error(fmt::format("nothing is left to write: no Gaussian is as opaque as {}", job_.min_opacity));
    result.gaussians = static_cast<int64_t>(rows_->size());
    result.pruned = static_cast<int64_t>(most.size() - rows_->size());
  }

  GaussianCloud at(float time) const {
    if (interrupt_requested()) throw Interrupted("stopped before the file was complete");
    GaussianCloud cloud = cloud_at(backend_, model_, time);
    if (rows_) cloud = select_rows(cloud, *rows_);
    limit_sh_degree(cloud, job_.sh_degree);
    turn_from_z_up(cloud, up_);
    if (job_.scale != 1) scale_cloud(cloud, static_cast<float>(job_.scale));
    return cloud;
  }

  // How the file, read again, looks beside the model.
  double psnr(const std::filesystem::path& file, float time) const {
    GaussianCloud cloud = splat::read_splat_file(file);
    if (job_.scale != 1) scale_cloud(cloud, static_cast<float>(1 / job_.scale));
    turn_to_z_up(cloud, up_);
    return psnr_beside_model(backend_, model_, time, cloud);
  }

 private:
  Backend& backend_;
  const ExportJob& job_;
  const Model& model_;
  const UpAxis up_;
  std::optional<std::vector<uint32_t>> rows_;
};

int frame_count(const ExportJob& job, const Model& model) {
  return job.frames > 0 ? job.frames : std::max(model.info.frame_count, 1);
}

std::vector<float> frame_times(int frames) {
  std::vector<float> times(static_cast<size_t>(frames), 0.f);
  for (size_t i = 1; i < times.size(); ++i) times[i] = static_cast<float>(i) / static_cast<float>(frames - 1);
  return times;
}

ExportResult export_sequence(const ExportJob& job, const Model& model, const splat::SplatFormat& format,
                             const splat::SplatWriting& writing, Moments& moments, Progress& progress) {
  const int frames = frame_count(job, model);
  const std::vector<float> times = frame_times(frames);
  make_folder(job.output);
  ExportResult result;
  moments.prune(times, result);
  progress.begin(frames, "exporting");
  for (int i = 0; i < frames; ++i) {
    if (interrupt_requested()) throw Interrupted(fmt::format("stopped after {} of {} frames", i, frames));
    result.files.push_back(job.output / fmt::format("frame_{:04}{}", i, format.extension));
    format.write(result.files.back(), moments.at(times[static_cast<size_t>(i)]), writing);
    progress.update(i + 1);
  }
  const auto middle = static_cast<size_t>(frames / 2);
  if (job.check && format.decode) result.psnr = moments.psnr(result.files[middle], times[middle]);
  result.removed = remove_frames_from(job.output, format.extension, frames);
  return result;
}

// One file of one moment or of all time.
ExportResult export_file(const ExportJob& job, const Model& model, const splat::SplatFormat& format,
                         const splat::SplatWriting& writing, Moments& moments) {
  ExportResult result;
  result.files = {job.output};
  if (format.write_sequence) {
    const std::vector<float> times = frame_times(frame_count(job, model));
    moments.prune(times, result);
    const splat::SplatSequence sequence = {static_cast<int>(times.size()), job.fps, [&](int frame) {
                                             return moments.at(times[static_cast<size_t>(frame)]);
                                           }};
    result.fit_error = format.write_sequence(job.output, sequence, writing);
    return result;
  }
  const auto time = static_cast<float>(job.time);
  moments.prune({time}, result);
  format.write(job.output, moments.at(time), writing);
  if (job.check && format.decode) result.psnr = moments.psnr(job.output, time);
  return result;
}

// Colours of each moment's own time are a fifth of the file: they go along where they are what is shown.
ExportResult export_page(Backend& backend, const ExportJob& job, const Model& model, Progress& progress) {
  const ViewerPage page = ViewerPage::load();
  const bool own_colors = model.info.options.deformation.color_time == ColorTime::own;
  const std::string scene = scene_file_of_model(backend, model, job.frames, own_colors, progress);
  const std::string info =
      viewer_info(model.info, job.model, model_place(job.model, job.choice.which, job.choice.iteration), {});
  write_file_atomically(job.output, page.with_object(info, std::as_bytes(std::span(scene))));
  return {.files = {job.output}};
}

}  // namespace

ExportResult export_model(Backend& backend, const ExportJob& job, Progress& progress) {
  const Model model = open_model(backend, job.model, job.choice);
  if (job.mesh) return export_mesh(backend, job, model, progress);
  if (job.format == ExportFormat::python) return {.files = write_python_model(model, job.output)};
  if (has_extension(job.output, ".html")) return export_page(backend, job, model, progress);
  const splat::SplatFormat* file_format = splat::splat_format_of(job.output);
  const splat::SplatFormat& format =
      file_format ? *file_format : splat::splat_formats()[static_cast<size_t>(job.format)];
  splat::SplatWriting writing = job.writing;
  writing.up = job.up == UpAxis::automatic ? format.up : job.up;
  Moments moments(backend, job, model, writing.up);
  if (file_format) return export_file(job, model, format, writing, moments);
  return export_sequence(job, model, format, writing, moments, progress);
}

}  // namespace eg4d
