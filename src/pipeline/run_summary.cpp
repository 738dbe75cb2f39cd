#include "pipeline/run_summary.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "io/file_lock.h"
#include "io/folder.h"
#include "io/image.h"
#include "io/json_file.h"
#include "picture/picture_resize.h"
#include "pipeline/job_queue.h"
#include "pipeline/open_model.h"
#include "pipeline/run_watch.h"
#include "scene/dataset.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct StageFolderName {
  const char *stage, *folder;
};
constexpr StageFolderName kStages[] = {
    {"animate", "video"}, {"multiview", "multiviews"}, {"reconstruct", "coarse"}, {"refine", "refined"}};
constexpr PictureLimits kPreviewLimits{.max_side = 16384, .max_pixels = int64_t{1} << 26};
constexpr int kMostPreviews = 1000;  // frames or views that are counted

// A damaged file tells nothing here; the command that reads it in earnest says so.
json read_or_null(const fs::path& file) {
  try {
    return read_json_if_there(file);
  } catch (const Error&) {
    return {};
  }
}

// The value behind the keys, or NaN.
double number_at(const json& from, std::initializer_list<const char*> keys) {
  const json* value = &from;
  for (const char* key : keys) {
    if (!value->is_object() || !value->contains(key)) return NAN;
    value = &(*value)[key];
  }
  return value->is_number() ? value->get<double>() : NAN;
}

int64_t time_of(const fs::path& file) {
  struct stat status {};
  return stat(file.c_str(), &status) == 0 ? static_cast<int64_t>(status.st_mtime) : 0;
}

// Of the model that is shown: the refined one, else the best.
double psnr_of(const fs::path& run) {
  const json refined = read_or_null(run / "refined" / "metrics.json");
  if (const double psnr = number_at(refined, {"splits", "test", "psnr"}); !std::isnan(psnr)) return psnr;
  const json coarse = read_or_null(run / "coarse" / "metrics.json");
  const double best = number_at(coarse, {"best", "psnr"});
  return std::isnan(best) ? number_at(coarse, {"splits", "test", "psnr"}) : best;
}

fs::path frame_file(const fs::path& run, size_t frame) {
  return run / "video" / fmt::format("frame_{:03}.png", frame);
}
fs::path view_file(const fs::path& run, size_t moment, size_t view) {
  return run / "multiviews" / fmt::format("{:06}", moment) / fmt::format("{:08}.png", view + 1);
}

// The first picture of the dataset that the run was trained on.
fs::path dataset_picture(const fs::path& run) {
  try {
    const Dataset dataset(dataset_of_model(run, {}));
    const DatasetSplit split = dataset.read_split("train");
    if (!split.frames.empty() && lies_in(split.frames.front().file, dataset.folder()))
      return split.frames.front().file;
  } catch (const Error&) {
    // gone, or not known
  }
  return {};
}

fs::path file_of(const fs::path& run, const RunPicture& which) {
  std::error_code error;
  const auto own = [&](const fs::path& file) {
    return fs::is_regular_file(file, error) && lies_in(file, run) ? file : fs::path();
  };
  if (which.kind == RunPicture::Kind::frame) return own(frame_file(run, which.moment));
  if (which.kind == RunPicture::Kind::view) return own(view_file(run, which.moment, which.view));
  for (const fs::path& file : {job_thumbnail(run), frame_file(run, 0), view_file(run, 0, 0)})
    if (const fs::path found = own(file); !found.empty()) return found;
  return dataset_picture(run);
}

}  // namespace

const char* name_of(RunSummary::State state) {
  switch (state) {
    case RunSummary::State::running:
      return "running";
    case RunSummary::State::paused:
      return "paused";
    case RunSummary::State::unfinished:
      return "unfinished";
    case RunSummary::State::finished:
      return "finished";
  }
  return "";
}

bool is_run(const fs::path& folder) {
  std::error_code error;
  return is_job(folder) || std::any_of(std::begin(kStages), std::end(kStages), [&](const auto& stage) {
           return fs::is_regular_file(folder / stage.folder / "manifest.json", error);
         });
}

int process_in_run(const fs::path& run) {
  for (const fs::path& folder : {run, run / "refined", run / "coarse", run / "multiviews", run / "video"})
    if (const int process = lock_holder(FileLock::of_folder(folder)); process > 0) return process;
  return 0;
}

RunSummary summarize_run(const fs::path& run) {
  RunSummary summary;
  const json times = read_or_null(run / "generate.json");
  const auto seconds = [&](const char* stage) {
    const double value = number_at(times, {stage, "seconds"});
    return std::isfinite(value) ? value : 0;
  };
  for (const auto& [stage, folder] : kStages) {
    const json manifest = read_or_null(run / folder / "manifest.json");
    if (!manifest.is_object()) continue;
    summary.changed = std::max({summary.changed, time_of(run / folder / "manifest.json"),
                                time_of(run / folder / "log.jsonl"), time_of(run / folder / "metrics.json")});
    const bool finished = manifest.contains("finished") && manifest["finished"] == true;
    summary.stages.push_back({stage, finished, seconds(stage)});
  }
  std::error_code error;
  if (const double presented = seconds("present"); presented > 0)
    summary.stages.push_back({"present", fs::exists(run / "report.html", error), presented});
  const bool has_metrics = fs::exists(run / "coarse" / "metrics.json", error);
  const int process = process_in_run(run);
  const bool all_finished = std::all_of(summary.stages.begin(), summary.stages.end(),
                                        [](const RunSummary::Stage& stage) { return stage.finished; });
  if (process > 0)
    summary.state = is_stopped(process) ? RunSummary::State::paused : RunSummary::State::running;
  else if (has_metrics && all_finished)
    summary.state = RunSummary::State::finished;
  summary.has_model = !run_model_file(run).empty();
  summary.psnr = psnr_of(run);
  summary.changed = std::max(summary.changed, time_of(run / "job" / "job.json"));
  return summary;
}

PaintedPictures painted_in_run(const fs::path& run) {
  PaintedPictures painted;
  std::error_code error;
  while (painted.frames < kMostPreviews &&
         fs::exists(frame_file(run, static_cast<size_t>(painted.frames)), error))
    ++painted.frames;
  for (size_t moment = 0; moment < kMostPreviews; ++moment) {
    int views = 0;
    while (views < kMostPreviews && fs::exists(view_file(run, moment, static_cast<size_t>(views)), error))
      ++views;
    if (views == 0) break;
    painted.views.push_back(views);
  }
  return painted;
}

std::optional<std::string> picture_of_run(const fs::path& run, const RunPicture& which, int side) {
  const fs::path file = file_of(run, which);
  if (file.empty()) return {};
  const std::vector<uint8_t> png = encode_png(thumbnail(read_picture(file, kPreviewLimits), side, side));
  return std::string(png.begin(), png.end());
}

}  // namespace eg4d
