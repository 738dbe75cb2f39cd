#include "pipeline/generate.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>

#include "backend/backend.h"
#include "core/config.h"
#include "core/error.h"
#include "diffusion/video_networks.h"
#include "io/atomic_file.h"
#include "io/folder.h"
#include "pipeline/animate.h"
#include "pipeline/export.h"
#include "pipeline/multiview.h"
#include "pipeline/overall_progress.h"
#include "pipeline/perceptual.h"
#include "pipeline/presets.h"
#include "pipeline/reconstruct.h"
#include "pipeline/refine.h"
#include "pipeline/report.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using nlohmann::json;

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

// What each stage took, kept in generate.json across calls.
class StageRecords {
 public:
  explicit StageRecords(const fs::path& run) : path_(run / "generate.json") {
    std::ifstream file(path_);
    records_ = json::parse(file, nullptr, false);
    if (!records_.is_object()) records_ = json::object();
  }
  // Adds to what earlier calls took for the stage.
  void add(size_t stage, double seconds) {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    json& record = records_[kStageNames[stage]];
    if (!record.is_object()) record = json::object();
    record["seconds"] = record.value("seconds", 0.0) + seconds;
    record["peak_memory_mib"] =
        std::max<int64_t>(record.value("peak_memory_mib", int64_t{0}), usage.ru_maxrss / 1024);
    write_file_atomically(path_, records_.dump(2) + "\n");
  }

 private:
  fs::path path_;
  json records_;
};

class Generation {
 public:
  Generation(Backend& backend, const GenerateJob& job, Progress& progress)
      : backend_(backend),
        job_(job),
        refinement_(job.options.refinement && job.models.refine),
        progress_(progress, stage_shares(job.models.demonstration, refinement_)),
        keep_(job.items.size() > 1 ? VideoNetworks::Keep::all : VideoNetworks::Keep::none),
        animator_(backend, job.models.animate.path, keep_),
        painter_(backend, job.models.multiview.path, keep_) {}

  void run_all() {
    for (const GenerateJob::Item& item : job_.items) run(item);
  }

 private:
  void run(const GenerateJob::Item& item);
  void refine_item(const GenerateJob::Item& item);
  void present(const GenerateJob::Item& item);
  template <class Work>
  void stage(size_t index, const GenerateJob::Item& item, StageRecords& records, const Work& work);

  Backend& backend_;
  const GenerateJob& job_;
  const bool refinement_;
  OverallProgress progress_;
  const VideoNetworks::Keep keep_;
  VideoNetworks animator_, painter_;
  std::unique_ptr<DiffusionPainter> diffusion_;
  std::unique_ptr<Lpips> lpips_;
};

template <class Work>
void Generation::stage(size_t index, const GenerateJob::Item& item, StageRecords& records, const Work& work) {
  progress_.begin_stage(index, job_.items.size() > 1 ? item.run.filename().string() : "");
  const Clock::time_point start = Clock::now();
  const bool already_done = work();
  if (!already_done) records.add(index, std::chrono::duration<double>(Clock::now() - start).count());
}

void Generation::run(const GenerateJob::Item& item) {
  make_folder(item.run);
  StageRecords records(item.run);
  const GenerateOptions& options = job_.options;
  stage(kAnimate, item, records, [&] {
    AnimateJob job{item.picture, item.run, job_.models.animate, options.animate, &animator_};
    return animate(backend_, job, progress_).already_done;
  });
  stage(kMultiview, item, records, [&] {
    MultiviewJob job{item.run,           item.run,          job_.models.multiview,
                     job_.models.folder, options.multiview, &painter_};
    return multiview(backend_, job, progress_).already_done;
  });
  stage(kReconstruct, item, records, [&] {
    ReconstructJob job;
    job.dataset = item.run / "multiviews";
    job.output = item.run;
    job.options = options.reconstruct;
    job.preset = job_.preset;
    job.models_folder = job_.models.folder;
    return reconstruct(backend_, job, progress_).already_done;
  });
  if (refinement_)
    stage(kRefine, item, records, [&] {
      if (fs::exists(item.run / "refined/metrics.json")) return true;
      refine_item(item);
      return false;
    });
  stage(kPresent, item, records, [&] {
    present(item);
    return false;
  });
}

void Generation::refine_item(const GenerateJob::Item& item) {
  if (!diffusion_) {
    progress_.begin(1, "reading weights");
    diffusion_ = std::make_unique<DiffusionPainter>(backend_, *job_.models.refine, job_.options.painting);
    std::string missing;
    lpips_ = find_lpips(backend_, Lpips::Network::alex, job_.models.folder, missing);
    if (!lpips_) progress_.message("the refinement's loss is L1 + SSIM: " + missing);
  }
  const RefineJob job{item.run, item.run / "multiviews", job_.options.refine, job_.preset};
  refine(backend_, job, *diffusion_, lpips_.get(), progress_);
  if (job_.items.size() == 1) {
    diffusion_.reset();
    lpips_.reset();
  }
}

// Everything for people: the orbit, the object for viewers, the report.
void Generation::present(const GenerateJob::Item& item) {
  RenderJob orbit;
  orbit.model = item.run;
  orbit.output = item.run / "orbit.mp4";
  orbit.orbit = job_.options.orbit;
  render_model(backend_, orbit, progress_);
  export_model(backend_, {.model = item.run, .output = item.run / "object.ply"}, progress_);
  ConfigSchema schema;
  GenerateOptions options = job_.options;
  options.bind(schema);
  Report report;
  report.picture = item.picture;
  report.run = item.run;
  report.settings = fmt::format("# preset: {} ({})\n{}", job_.preset, job_.preset_reason, schema.to_toml());
  report.licenses = job_.models.licenses;
  report.demonstration = job_.models.demonstration;
  write_report(backend_, report, progress_);
}

}  // namespace

void GenerateOptions::bind(ConfigSchema& schema) {
  schema.add("refinement", refinement, "make Stage III; off: the reconstructed object is the result");
  schema.section("animate", [this](ConfigSchema& s) { animate.bind(s); });
  schema.section("multiview", [this](ConfigSchema& s) { multiview.bind(s); });
  schema.section("reconstruct", [this](ConfigSchema& s) { reconstruct.bind(s); });
  schema.section("refine", [this](ConfigSchema& s) {
    refine.bind(s);
    painting.bind(s);
  });
  schema.section("orbit", [this](ConfigSchema& s) {
    s.add("frames", orbit.frames, {1, 100000}, "frames of orbit.mp4");
    s.add("elevation", orbit.elevation_from, {-90, 90}, "of its camera, degrees");
  });
}

const PresetTexts& generate_presets() {
  static const PresetTexts presets{
      {"paper", ""},
      {"mini", section_text("animate", animate_presets().at("mini")) +
                   section_text("multiview", multiview_presets().at("mini")) +
                   section_text("reconstruct", reconstruct_presets().at("fast")) +
                   section_text("refine", refine_presets().at("fast")) + "[orbit]\nframes = 48\n"}};
  return presets;
}

namespace {

// The small models.
GenerateModels mini_models(const fs::path& folder) {
  const fs::path mini = bundled_models_folder(folder);
  GenerateModels models;
  models.animate = require_model((mini / "svd_mini.safetensors").string());
  models.multiview = require_model((mini / "sv3d_mini.safetensors").string());
  if (fs::is_directory(mini / "sdxl_mini"))
    models.refine = DiffusionPainter::find_models((mini / "sdxl_mini").string(), "none", "none", {});
  models.demonstration = true;
  models.licenses = {
      "svd_mini, sv3d_mini, sdxl_mini: Apache-2.0, trained by this project (docs/mini-models.md)"};
  return models;
}

}  // namespace

GenerateModels find_generate_models(const std::string& preset, const fs::path& folder) {
  GenerateModels models;
  if (preset == "mini") {
    models = mini_models(folder);
  } else {
    models.animate = require_model("svd_xt_1_1", folder);
    models.multiview = require_model("sv3d_p", folder);
    models.refine = DiffusionPainter::find_models("sdxl_turbo", "", "", folder);
    for (const char* name : {"svd_xt_1_1", "sv3d_p", "sdxl_turbo"})
      models.licenses.push_back(fmt::format("{}: {}", name, find_model_entry(name).license));
  }
  models.folder = folder;
  return models;
}

PresetChoice choose_generate_preset(const fs::path& folder) {
  for (const char* name : {"svd_xt_1_1", "sv3d_p", "sdxl_turbo"})
    if (!find_model(find_model_entry(name), folder))
      return {"mini",
              fmt::format("the published weights are not here ({} is missing; eg4d models list)", name)};
  return {"paper", "the published weights were found"};
}

void generate(Backend& backend, const GenerateJob& job, Progress& progress) {
  Generation(backend, job, progress).run_all();
}

}  // namespace eg4d
