#include "pipeline/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/threads.h"
#include "core/version.h"
#include "io/atomic_file.h"
#include "io/html.h"
#include "io/image.h"
#include "io/json_file.h"
#include "scene/dataset.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kGridViews = 7, kGridTimes = 4;

void copy_into(const Picture& from, Picture& to, int left, int top) {
  for (int y = 0; y < from.height; ++y)
    std::copy_n(from.data.begin() + static_cast<long>(y) * from.width * 3, from.width * 3,
                to.data.begin() + (static_cast<long>(top + y) * to.width + left) * 3);
}

// Rows are moments, columns directions, from the input's own on.
Picture render_grid(Backend& backend, const Report& report, Progress& progress) {
  const fs::path& run = report.run;
  const fs::path folder = run / "grid";
  Picture grid;
  for (int row = 0; row < kGridTimes; ++row) {
    RenderJob job;
    job.model = run;
    job.output = folder;
    job.orbit = report.orbit;
    job.orbit.frames = kGridViews;
    job.orbit.back = false;
    job.orbit.time_from = job.orbit.time_to = static_cast<double>(row) / (kGridTimes - 1);
    const RenderResult size = render_model(backend, job, progress);
    if (row == 0) grid = Picture(size.width * kGridViews, size.height * kGridTimes, 3);
    parallel_for(kGridViews, 1, [&](int64_t column, int64_t) {
      copy_into(read_picture(folder / fmt::format("frame_{:04}.png", column)), grid,
                static_cast<int>(column) * size.width, row * size.height);
    });
    fs::remove_all(folder);
  }
  return grid;
}

// The views that Stage I painted, in the grid's directions and moments.
Picture painted_grid(const fs::path& run) {
  const Dataset dataset(run / "multiviews");
  std::map<std::pair<int, int>, const DatasetFrame*> places;  // (time, view)
  const DatasetSplit &train = dataset.read_split("train"), &test = dataset.read_split("test");
  int times = 0, views = 0;
  for (const DatasetSplit* split : {&train, &test})
    for (const DatasetFrame& frame : split->frames) {
      places[{frame.time_index, frame.view_index}] = &frame;
      times = std::max(times, frame.time_index + 1);
      views = std::max(views, frame.view_index + 1);
    }
  std::vector<Picture> cells(size_t{kGridTimes} * kGridViews);
  parallel_for(static_cast<int64_t>(cells.size()), 1, [&](int64_t cell, int64_t) {
    const int row = static_cast<int>(cell) / kGridViews, column = static_cast<int>(cell) % kGridViews;
    // The dataset's last view is the input's own.
    const int view = (views - 1 + column * views / kGridViews) % views;
    const auto found = places.find({row * (times - 1) / (kGridTimes - 1), view});
    if (found != places.end()) cells[static_cast<size_t>(cell)] = read_picture(found->second->file);
  });
  Picture grid;
  for (size_t cell = 0; cell < cells.size(); ++cell) {
    const Picture& picture = cells[cell];
    if (picture.data.empty()) continue;
    if (grid.data.empty()) grid = Picture(picture.width * kGridViews, picture.height * kGridTimes, 3);
    copy_into(picture, grid, static_cast<int>(cell % kGridViews) * picture.width,
              static_cast<int>(cell / kGridViews) * picture.height);
  }
  return grid;
}

// The PSNR of the test view over the iterations of both trainings.
std::vector<html::Curve> psnr_curves(const fs::path& run) {
  std::vector<html::Curve> curves;
  double before = 0;
  for (const char* stage : {"coarse", "refined"}) {
    const json metrics = read_json_if_there(run / stage / "metrics.json");
    if (!metrics.is_object()) continue;
    html::Curve curve{stage == std::string("coarse") ? "reconstruct" : "refine", {}};
    double iteration = 0, offset = 0;
    for (const json& evaluation : metrics.value("evaluations", json::array())) {
      const double now = evaluation.value("iteration", 0.0);
      if (now <= iteration) offset += iteration;  // the fine stage counts from one again
      iteration = now;
      curve.points.emplace_back(before + offset + iteration, evaluation.value("psnr", 0.0));
    }
    before += offset + iteration;
    if (!curve.points.empty()) curves.push_back(std::move(curve));
  }
  return curves;
}

std::string stage_table(const fs::path& run) {
  const json records = read_json_if_there(run / "generate.json");
  if (!records.is_object()) return {};
  std::string rows;
  double sum = 0;
  int64_t peak = 0, device_peak = 0;
  for (const char* stage : {"animate", "multiview", "reconstruct", "refine", "present"}) {
    const json record = records.value(stage, json());
    if (!record.is_object()) continue;
    const int64_t host = record.value("peak_memory_mib", int64_t{0}),
                  device = record.value("device_memory_mib", int64_t{0});
    rows += fmt::format("<tr><td>{}</td><td>{:.1f} s</td><td>{} MiB</td><td>{} MiB</td></tr>\n", stage,
                        record.value("seconds", 0.0), host, device);
    sum += record.value("seconds", 0.0);
    peak = std::max(peak, host);
    device_peak = std::max(device_peak, device);
  }
  rows += fmt::format("<tr><td>all</td><td>{:.1f} s</td><td>{} MiB</td><td>{} MiB</td></tr>\n", sum, peak,
                      device_peak);
  return "<table><tr><th>stage</th><th>time</th><th>peak memory so far</th><th>arrays of the "
         "device</th></tr>\n" +
         rows + "</table>\n";
}

std::string result_table(const fs::path& run) {
  std::string rows;
  for (const char* stage : {"coarse", "refined"}) {
    const json metrics = read_json_if_there(run / stage / "metrics.json");
    if (!metrics.is_object()) continue;
    const json figures = metrics.value("splits", json::object()).value("test", json::object());
    rows +=
        fmt::format("<tr><td>{}</td><td>{:.2f} dB</td><td>{:.4f}</td><td>{}</td></tr>\n",
                    stage == std::string("coarse") ? "reconstructed" : "refined", figures.value("psnr", 0.0),
                    figures.value("ssim", 0.0), metrics.value("gaussians", 0));
  }
  return "<table><tr><th>model</th><th>PSNR</th><th>SSIM</th><th>Gaussians</th></tr>\n" + rows + "</table>\n";
}

std::string weights_table(const std::vector<WeightsUsed>& weights) {
  std::string rows;
  for (const WeightsUsed& used : weights)
    rows += fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td></tr>\n", html::escape(used.name),
                        html::escape(used.license), html::escape(used.training));
  return "<table><tr><th>weights</th><th>licence</th><th>training, as the files tell</th></tr>\n" + rows +
         "</table>\n";
}

std::string note(const std::string& text) {
  return "<p class=\"note\">" + text + "</p>\n";
}

// What is to be known before one looks at the result.
std::string notes(const Report& report) {
  std::string text;
  if (report.demonstration) {
    text =
        "Made with the mini models, which are a <b>demonstration</b>: small networks for 128×128 pictures, "
        "trained "
        "on drawn creatures on white alone (<code>docs/mini-models.md</code>). They guess what they do not "
        "see, "
        "blur what is fine, and know a few kinds of motion. Of anything else, such as a photo, they make "
        "something "
        "that resembles it at best. With the published weights (<code>eg4d models list</code>) the same "
        "command "
        "makes the real thing.";
    if (report.background)
      text +=
          " <b>This picture has a background</b>, which these models have never seen: cut the object out, or "
          "give a picture of it on white.";
  } else if (report.background) {
    text = "This picture has a background: it was taken for a part of the object.";
  }
  std::string all = text.empty() ? "" : note(text);
  for (std::string sentence : report.notes) {
    sentence[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(sentence[0])));
    all += "<p class=\"small\">" + html::escape(sentence) + ".</p>\n";
  }
  return all;
}

// Nothing where the video was left out (can_write_videos).
std::string video_figure(const std::string& caption, const fs::path& file) {
  return fs::exists(file) ? html::figure(caption, html::video(file)) : "";
}

}  // namespace

void write_report(Backend& backend, const Report& report, Progress& progress) {
  const fs::path& run = report.run;
  write_png(run / "grid.png", render_grid(backend, report, progress));
  write_png(run / "views.png", painted_grid(run));
  const std::string name = html::escape(report.name);
  std::string body = fmt::format("<h1>{}</h1>\n", name) + notes(report);
  body +=
      "<div class=\"row\">\n" +
      html::figure(report.is_video ? "the input's first frame" : "the input", html::picture(report.picture)) +
      video_figure(report.is_video ? "what was taken of it" : "animated (Stage I-a)", run / "video.mp4") +
      video_figure("seen from all sides, while time goes on (Stage I-b)", run / "multiviews" / "4d.mp4") +
      video_figure("the 4D object (Stages II and III)", run / "orbit.mp4") + "</div>\n";
  body +=
      "<h2>The object from all sides</h2>\n<p>Columns are directions, the input's first; rows are "
      "moments.</p>\n" +
      html::picture(run / "grid.png");
  body +=
      "<h2>What it was made from</h2>\n<p>The same directions and moments as Stage I painted them.</p>\n" +
      html::picture(run / "views.png");
  body += "<h2>Training</h2>\n" +
          html::line_plot("iteration", "PSNR of the held-out view, dB", psnr_curves(run)) + result_table(run);
  body +=
      "<p>These figures compare with the view that Stage I painted and training did not see, not with a true "
      "object.</p>\n";
  body += "<h2>Time and memory</h2>\n" + stage_table(run);
  body += "<h2>Weights</h2>\n" + weights_table(report.weights);
  body += "<h2>Settings</h2>\n<details><summary>all settings, as a configuration file</summary><pre>" +
          html::escape(report.settings) + "</pre></details>\n";
  body += fmt::format("<p class=\"small\">eg4d {}</p>\n", kVersion);
  write_file_atomically(run / "report.html", html::page("eg4d: " + report.name, body));
}

}  // namespace eg4d
