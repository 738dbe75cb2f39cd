#include "pipeline/generate.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "backend/backend.h"
#include "core/config.h"
#include "core/error.h"
#include "core/freed_memory.h"
#include "core/log.h"
#include "diffusion/video_networks.h"
#include "io/atomic_file.h"
#include "io/file_lock.h"
#include "io/folder.h"
#include "io/video.h"
#include "nn/network_type.h"
#include "picture/input_picture.h"
#include "pipeline/animate.h"
#include "pipeline/dataset_interpolation.h"
#include "pipeline/export.h"
#include "pipeline/multiview.h"
#include "pipeline/overall_progress.h"
#include "pipeline/perceptual.h"
#include "pipeline/presets.h"
#include "pipeline/reconstruct.h"
#include "pipeline/refine.h"
#include "pipeline/report.h"
#include "pipeline/stage_times.h"
#include "scene/frame_source.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

enum StageIndex : size_t { kAnimate, kMultiview, kReconstruct, kRefine, kPresent, kStageCount };
constexpr const char* kStageNames[kStageCount] = {"animate", "multiview", "reconstruct", "refine", "present"};

// About how the time divides.
std::vector<OverallProgress::Stage> stage_shares(bool demonstration, bool refinement) {
  const double published[] = {0.03, 0.55, 0.32, 0.08, 0.02}, mini[] = {0.05, 0.4, 0.4, 0.1, 0.05};
  std::vector<OverallProgress::Stage> stages;
  double sum = 0;
  for (size_t i = 0; i < kStageCount; ++i) {
    const double share = i == kRefine && !refinement ? 0 : (demonstration ? mini : published)[i];
    stages.push_back({kStageNames[i], share});
    sum += share;
  }
  for (OverallProgress::Stage& stage : stages) stage.share /= sum;
  return stages;
}

std::string section_text(const char* name, const std::string& preset) {
  return fmt::format("[{}]\n{}\n", name, preset);
}

// Nothing is around the object when its picture is white along its border.
bool has_background(const GenerateJob::Item& item, int side) {
  const auto prepare = [&](const Picture& frame) { return animation_input(frame, side).picture; };
  const Picture picture = item.is_video ? read_frames_evenly(item.picture, 1, prepare).at(0)
                                        : prepare(read_picture(item.picture));
  int64_t border = 0, coloured = 0;
  for (int y = 0; y < picture.height; ++y)
    for (int x = 0; x < picture.width; ++x) {
      if (x > 0 && y > 0 && x < picture.width - 1 && y < picture.height - 1) continue;
      const uint8_t* pixel = &picture.data[(static_cast<size_t>(y) * picture.width + x) * 3];
      ++border;
      coloured += *std::min_element(pixel, pixel + 3) < 240;
    }
  return coloured * 4 > border;
}

// Around the object from the input's camera on, which is one step before the dataset's first.
OrbitPath orbit_of(const GenerateOptions& options) {
  OrbitPath orbit = options.orbit;
  orbit.azimuth_from = -360.0 / options.multiview.views;
  orbit.azimuth_to = orbit.azimuth_from + 360;
  orbit.elevation_to = orbit.elevation_from;
  return orbit;
}

class Generation {
 public:
  Generation(Backend& backend, const GenerateJob& job, Progress& progress)
      : backend_(backend),
        job_(job),
        progress_(progress, stage_shares(job.models.demonstration, job.options.refinement),
                  [this](const std::string& label) {
                    if (times_) times_->tick(label);
                  }),
        keep_(job.items.size() > 1 ? VideoNetworks::Keep::all : VideoNetworks::Keep::none),
        animator_(backend, job.models.animate.path, keep_),
        painter_(backend, job.models.multiview.path, keep_) {}

  void run_all() {
    // Refuses what the device cannot do before anything is made.
    for (const SamplingOptions& sampling : {job_.options.animate.sampling, job_.options.multiview.sampling})
      network_type(backend_, precision_on(backend_, sampling.precision), sampling.feed_forward);
    network_type(backend_, precision_on(backend_, job_.options.painting.precision));
    find_notes();
    for (const GenerateJob::Item& item : job_.items) check(item);
    for (const std::string& note : notes_) progress_.message(note);
    for (const GenerateJob::Item& item : job_.items) run(item);
  }

 private:
  void find_notes();
  void check(const GenerateJob::Item& item) const;
  void run(const GenerateJob::Item& item);
  AnimateJob animation_of(const GenerateJob::Item& item) const;
  MultiviewJob views_of(const GenerateJob::Item& item) const;
  ReconstructJob reconstruction_of(const GenerateJob::Item& item) const;
  RefineJob refinement_of(const GenerateJob::Item& item) const;
  bool refine_item(const GenerateJob::Item& item);
  void present(const GenerateJob::Item& item);
  template <class Work>
  void stage(size_t index, const GenerateJob::Item& item, const Work& work);

  PainterIdentity painter_identity() const {
    return DiffusionPainter::identity_of(job_.models.refine, job_.options.painting);
  }
  std::string background_warning(const fs::path& picture) const;

  Backend& backend_;
  const GenerateJob& job_;
  std::optional<StageTimes> times_;  // of the current run folder
  OverallProgress progress_;
  std::vector<std::string> notes_;  // what the user should know about the weights that are not here
  bool perceptual_ = false;         // LPIPS is a part of the refinement's loss
  const VideoNetworks::Keep keep_;
  VideoNetworks animator_, painter_;
  std::unique_ptr<DiffusionPainter> diffusion_;
  std::unique_ptr<Lpips> lpips_;
};

void Generation::find_notes() {
  if (!job_.options.refinement) return;
  if (!job_.models.refine.matting)
    notes_.emplace_back(
        "without weights for matting (eg4d models fetch u2net) the refinement leaves the background as it "
        "is");
  if (job_.options.refine.training.loss.lpips == 0) return;
  perceptual_ = has_lpips(Lpips::Network::alex, job_.models.folder);
  if (!perceptual_)
    notes_.emplace_back(
        "without weights for LPIPS (eg4d models fetch alexnet lpips_alex) the refinement's loss is L1 + "
        "SSIM");
}

std::string Generation::background_warning(const fs::path& picture) const {
  return fmt::format("'{}' has a background, which {}; cut the object out, or give a picture of it on white",
                     picture.string(),
                     job_.models.demonstration ? "the mini models have never seen"
                                               : "will be taken for a part of the object");
}

template <class Work>
void Generation::stage(size_t index, const GenerateJob::Item& item, const Work& work) {
  progress_.begin_stage(index, job_.items.size() > 1 ? item.run.filename().string() : "");
  times_->begin(kStageNames[index]);
  try {
    times_->end(work());
  } catch (...) {
    times_->end();
    throw;
  }
  return_freed_memory();
}

AnimateJob Generation::animation_of(const GenerateJob::Item& item) const {
  AnimateJob job{item.picture, item.run, job_.models.animate, job_.options.animate};
  if (item.is_video) job.video = item.picture;
  job.overwrite_other = job_.overwrite;
  return job;
}

MultiviewJob Generation::views_of(const GenerateJob::Item& item) const {
  MultiviewJob job{item.run, item.run, job_.models.multiview, job_.models.folder, job_.options.multiview};
  job.overwrite_other = job_.overwrite;
  return job;
}

ReconstructJob Generation::reconstruction_of(const GenerateJob::Item& item) const {
  ReconstructJob job{multiview_dataset(item.run, job_.options.multiview), item.run, job_.options.reconstruct,
                     job_.preset, job_.models.folder};
  job.overwrite_other = job_.overwrite;
  return job;
}

RefineJob Generation::refinement_of(const GenerateJob::Item& item) const {
  RefineJob job{item.run, multiview_dataset(item.run, job_.options.multiview), job_.options.refine,
                job_.preset};
  job.overwrite_other = job_.overwrite;
  return job;
}

// Before hours are spent: pictures that can be read, and no results of other settings in any stage's folder.
void Generation::check(const GenerateJob::Item& item) const {
  if (has_background(item, job_.options.animate.side)) warn(background_warning(item.picture));
  if (job_.overwrite) return;
  check_animation(animation_of(item));
  check_views(views_of(item));
  check_reconstruction(reconstruction_of(item));
  if (fs::exists(item.run / "coarse" / "manifest.json") &&
      !fs::exists(item.run / "multiviews" / "manifest.json"))
    throw Error(
        fmt::format("'{}' holds a reconstruction of another dataset: give another output folder with -o, or "
                    "--overwrite to replace it",
                    item.run.string()));
  if (job_.options.refinement) check_refinement(refinement_of(item), painter_identity(), perceptual_);
}

void Generation::run(const GenerateJob::Item& item) {
  make_folder(item.run);
  const FileLock lock(FileLock::of_folder(item.run), fmt::format("'{}'", item.run.string()));
  remove_abandoned_temporaries(item.run);
  times_.emplace(item.run, backend_);
  stage(kAnimate, item, [&] {
    AnimateJob job = animation_of(item);
    job.networks = &animator_;
    return animate(backend_, job, progress_).already_done;
  });
  stage(kMultiview, item, [&] {
    MultiviewJob job = views_of(item);
    job.networks = &painter_;
    return multiview(backend_, job, progress_).already_done;
  });
  stage(kReconstruct, item,
        [&] { return reconstruct(backend_, reconstruction_of(item), progress_).already_done; });
  if (job_.options.refinement) stage(kRefine, item, [&] { return refine_item(item); });
  stage(kPresent, item, [&] {
    present(item);
    return false;
  });
}

// Returns true when it was refined before.
bool Generation::refine_item(const GenerateJob::Item& item) {
  const RefineJob job = refinement_of(item);
  if (finished_refinement(job, painter_identity(), perceptual_)) return true;
  if (!diffusion_) {
    progress_.begin(1, "reading weights");
    diffusion_ = std::make_unique<DiffusionPainter>(backend_, job_.models.refine, job_.options.painting);
    if (perceptual_)
      lpips_ = require_lpips(
          backend_, Lpips::Network::alex, job_.models.folder,
          exact_network_type(backend_, precision_on(backend_, job_.options.painting.precision)));
  }
  refine(backend_, job, *diffusion_, lpips_.get(), progress_);
  if (job_.items.size() == 1) {
    diffusion_.reset();
    lpips_.reset();
  }
  return false;
}

// Everything for people: the orbit, the object for viewers, the report.
void Generation::present(const GenerateJob::Item& item) {
  RenderJob orbit;
  orbit.model = item.run;
  orbit.output = item.run / (can_write_videos() ? "orbit.mp4" : "orbit");
  orbit.orbit = orbit_of(job_.options);
  orbit.width = orbit.height = job_.options.orbit_size;
  render_model(backend_, orbit, progress_);
  export_model(backend_, {.model = item.run, .output = item.run / "object.ply"}, progress_);
  ConfigSchema schema;
  GenerateOptions options = job_.options;
  options.bind(schema);
  Report report;
  const fs::path plain = item.picture.lexically_normal();
  report.name = (plain.has_filename() ? plain : plain.parent_path()).filename().string();
  report.picture = item.is_video ? item.run / "video" / "frame_000.png" : item.picture;
  report.is_video = item.is_video;
  report.run = item.run;
  report.settings = fmt::format("# preset: {} ({})\n{}", job_.preset, job_.preset_reason, schema.to_toml());
  report.weights = job_.models.used;
  report.notes = notes_;
  report.demonstration = job_.models.demonstration;
  report.orbit = orbit.orbit;
  report.background = has_background(item, options.animate.side);
  write_report(backend_, report, progress_);
}

}  // namespace

void GenerateOptions::bind(ConfigSchema& schema) {
  bind_own(schema);
  schema.section("animate", [this](ConfigSchema& s) { animate.bind(s); });
  schema.section("multiview", [this](ConfigSchema& s) { multiview.bind(s); });
  schema.section("reconstruct", [this](ConfigSchema& s) { reconstruct.bind(s); });
  schema.section("refine", [this](ConfigSchema& s) {
    refine.bind(s);
    painting.bind(s);
  });
}

void GenerateOptions::bind_own(ConfigSchema& schema) {
  schema.add("refinement", refinement, "make Stage III; off: the reconstructed object is the result");
  schema.section("orbit", [this](ConfigSchema& s) {
    s.add("frames", orbit.frames, {1, 100000}, "frames of orbit.mp4");
    s.add("elevation", orbit.elevation_from, {-90, 90}, "of its camera, degrees");
    s.add("size", orbit_size, {0, 4096}, "its width and height in pixels; 0: those of the views");
  });
}

const PresetTexts& generate_presets() {
  static const PresetTexts presets{
      {"paper", ""},
      {"mini", section_text("animate", animate_presets().at("mini")) +
                   section_text("multiview", multiview_presets().at("mini")) +
                   section_text("reconstruct", reconstruct_presets().at("mini")) +
                   section_text("refine", refine_presets().at("mini")) +
                   "[orbit]\nframes = 48\nsize = 384\n"}};
  return presets;
}

void generate(Backend& backend, const GenerateJob& job, Progress& progress) {
  check_options(job.options.animate, "animate.");
  check_options(job.options.multiview, "multiview.");
  if (job.options.refinement) job.options.painting.check();
  Generation(backend, job, progress).run_all();
}

}  // namespace eg4d
