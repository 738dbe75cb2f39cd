#include "pipeline/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/version.h"
#include "io/atomic_file.h"
#include "io/html.h"
#include "io/image.h"
#include "pipeline/render.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kGridViews = 7, kGridTimes = 4;

json read_json(const fs::path& path) {
  std::ifstream file(path);
  return json::parse(file, nullptr, false);
}

void copy_into(const Picture& from, Picture& to, int left, int top) {
  for (int y = 0; y < from.height; ++y)
    std::copy_n(from.data.begin() + static_cast<long>(y) * from.width * 3, from.width * 3,
                to.data.begin() + (static_cast<long>(top + y) * to.width + left) * 3);
}

// Rows are moments, columns directions.
Picture render_grid(Backend& backend, const fs::path& run, Progress& progress) {
  const fs::path folder = run / "grid";
  Picture grid;
  for (int row = 0; row < kGridTimes; ++row) {
    RenderJob job;
    job.model = run;
    job.output = folder;
    job.orbit.frames = kGridViews;
    job.orbit.back = false;
    job.orbit.time_from = job.orbit.time_to = static_cast<double>(row) / (kGridTimes - 1);
    const RenderResult size = render_model(backend, job, progress);
    if (row == 0) grid = Picture(size.width * kGridViews, size.height * kGridTimes, 3);
    for (int column = 0; column < kGridViews; ++column)
      copy_into(read_picture(folder / fmt::format("frame_{:04}.png", column)), grid, column * size.width,
                row * size.height);
    fs::remove_all(folder);
  }
  return grid;
}

// The PSNR of the test view over the iterations of both trainings.
std::vector<html::Curve> psnr_curves(const fs::path& run) {
  std::vector<html::Curve> curves;
  double before = 0;
  for (const char* stage : {"coarse", "refined"}) {
    const json metrics = read_json(run / stage / "metrics.json");
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
  const json records = read_json(run / "generate.json");
  if (!records.is_object()) return {};
  std::string rows;
  for (const char* stage : {"animate", "multiview", "reconstruct", "refine", "present"}) {
    const json record = records.value(stage, json());
    if (!record.is_object()) continue;
    rows += fmt::format("<tr><td>{}</td><td>{:.1f} s</td><td>{} MiB</td></tr>\n", stage,
                        record.value("seconds", 0.0), record.value("peak_memory_mib", 0));
  }
  return "<table><tr><th>stage</th><th>time</th><th>peak memory</th></tr>\n" + rows + "</table>\n";
}

std::string result_table(const fs::path& run) {
  std::string rows;
  for (const char* stage : {"coarse", "refined"}) {
    const json metrics = read_json(run / stage / "metrics.json");
    if (!metrics.is_object()) continue;
    const json splits = metrics.value("splits", json::object());
    for (const auto& [split, figures] : splits.items())
      rows += fmt::format("<tr><td>{}</td><td>{}</td><td>{:.2f} dB</td><td>{:.4f}</td><td>{}</td></tr>\n",
                          stage, html::escape(split), figures.value("psnr", 0.0), figures.value("ssim", 0.0),
                          metrics.value("gaussians", 0));
  }
  return "<table><tr><th>model</th><th>split</th><th>PSNR</th><th>SSIM</th><th>Gaussians</th></tr>\n" + rows +
         "</table>\n";
}

}  // namespace

void write_report(Backend& backend, const Report& report, Progress& progress) {
  const fs::path& run = report.run;
  write_png(run / "grid.png", render_grid(backend, run, progress));
  std::string body = fmt::format("<h1>{}</h1>\n", html::escape(report.picture.filename().string()));
  if (report.demonstration)
    body +=
        "<p class=\"note\">Made with the mini models, which are a demonstration: small networks for 128×128 "
        "pictures, "
        "trained on drawn creatures alone. What they make of anything else, such as a photo, only resembles "
        "it. With "
        "the published weights (<code>eg4d models list</code>) the same command makes the real thing.</p>\n";
  body += "<div class=\"row\">\n" + html::figure("input", html::picture(report.picture)) +
          html::figure("animated (Stage I-a)", html::video(run / "video.mp4")) +
          html::figure("all views, time and view advance together (Stage I-b)",
                       html::video(run / "multiviews" / "4d.mp4")) +
          html::figure("the 4D object", html::video(run / "orbit.mp4")) + "</div>\n";
  body += "<h2>The object from all sides</h2>\n<p>Columns are directions, rows moments.</p>\n" +
          html::picture(run / "grid.png");
  body += "<h2>Training</h2>\n" +
          html::line_plot("iteration", "PSNR of the held-out view, dB", psnr_curves(run)) + result_table(run);
  body += "<p>These figures compare with the views that Stage I painted, not with a true object.</p>\n";
  body += "<h2>Time and memory</h2>\n" + stage_table(run);
  body += "<h2>Weights</h2>\n<ul>\n";
  for (const std::string& license : report.licenses) body += "<li>" + html::escape(license) + "</li>\n";
  body += "</ul>\n<h2>Settings</h2>\n<details><summary>all settings, as a configuration file</summary><pre>" +
          html::escape(report.settings) + "</pre></details>\n";
  body += fmt::format("<p class=\"small\">eg4d {}</p>\n", kVersion);
  write_file_atomically(run / "report.html", html::page("eg4d: " + report.picture.filename().string(), body));
}

}  // namespace eg4d
