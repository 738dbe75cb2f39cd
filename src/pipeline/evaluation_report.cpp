#include "pipeline/evaluation_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <span>

#include "io/atomic_file.h"
#include "io/html.h"

namespace eg4d {
namespace {

constexpr int kErrorOfWhite = 64;

std::string address(const Picture& picture) {
  const std::vector<uint8_t> bytes = encode_png(picture);
  return html::data_address("image/png", std::as_bytes(std::span<const uint8_t>(bytes)));
}

// One figure of all pictures.
struct Column {
  std::string title;
  int digits;
  bool more_is_better;
  std::vector<double> values;
  double mean;
};

std::vector<Column> columns_of(const EvaluateResult& result) {
  Column psnr{"PSNR", 2, true, {}, result.metrics.psnr}, ssim{"SSIM", 4, true, {}, result.metrics.ssim};
  for (const ViewMetrics& view : result.metrics.views) {
    psnr.values.push_back(view.psnr);
    ssim.values.push_back(view.ssim);
  }
  std::vector<Column> columns{std::move(psnr), std::move(ssim)};
  for (const PerceptualFigures::Figure& figure : result.perceptual)
    columns.push_back({figure.title, 4, figure.more_is_better, figure.values, figure.mean()});
  return columns;
}

std::string number(const Column& column, double value) {
  return fmt::format("{:.{}f}", value, column.digits);
}

const char* kStyle = R"(
:root{color-scheme:light dark;--ink:#1d2330;--soft:#667;--line:#d5d9e2;--back:#fafbfd;--card:#fff;--mark:#2f6fdf}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9f0;--soft:#9aa3b5;--line:#333a48;--back:#14171d;--card:#1c2029;--mark:#7aa8ff}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);margin:0 auto;max-width:1180px;padding:24px}
h1{font-size:24px;margin:0}h2{font-size:18px;margin:36px 0 12px}p{margin:4px 0 10px;color:var(--soft)}
.cards,.plots{display:grid;gap:12px;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));margin:18px 0}
.plots{grid-template-columns:repeat(auto-fit,minmax(340px,1fr))}
.card,.plot{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 16px}
.card b{display:block;font-size:26px;font-variant-numeric:tabular-nums}.card span{color:var(--soft)}
svg{width:100%;height:auto;display:block}svg text{fill:var(--soft);font-size:12px}
.grid{stroke:var(--line)}.curve{fill:none;stroke:var(--mark);stroke-width:2}.dot{fill:var(--mark);fill-opacity:.45}
.view{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 16px;margin:0 0 14px}
.view h3{font-size:14px;font-weight:600;margin:0 0 8px;overflow-wrap:anywhere}.view h3 span{font-weight:400;color:var(--soft)}
.three{display:grid;grid-template-columns:repeat(3,1fr);gap:10px}figure{margin:0}
figure img{width:100%;display:block;border-radius:4px;image-rendering:auto;background:#888}figcaption{color:var(--soft);font-size:13px}
.table{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:4px 10px;border-bottom:1px solid var(--line)}th:first-child,td:first-child{text-align:left;overflow-wrap:anywhere}
tfoot td{font-weight:600}
.scale{display:inline-block;width:160px;height:10px;border-radius:3px;vertical-align:middle;background:linear-gradient(90deg,#000,#f00 34%,#ff0 67%,#fff)}
)";

// ---------------------------------------------------------------- plots

struct Axes {
  static constexpr double kWidth = 520, kHeight = 230, kLeft = 56, kRight = 26, kTop = 12, kBottom = 30;
  double first_time, last_time, low, high;

  double x(double time) const {
    const double share = last_time > first_time ? (time - first_time) / (last_time - first_time) : 0.5;
    return kLeft + share * (kWidth - kLeft - kRight);
  }
  double y(double value) const { return kTop + (high - value) / (high - low) * (kHeight - kTop - kBottom); }
};

// Every picture a dot, the means of each time a line.
std::string plot(const Column& column, const std::vector<ViewMetrics>& views) {
  std::map<double, std::vector<double>> by_time;
  double low = 1e300, high = -1e300;
  for (size_t i = 0; i < views.size(); ++i) {
    const double value = column.values[i];
    if (!std::isfinite(value)) continue;
    by_time[views[i].time].push_back(value);
    low = std::min(low, value);
    high = std::max(high, value);
  }
  if (by_time.empty()) return {};
  const double margin = std::max((high - low) * 0.08, std::max(std::abs(high) * 1e-3, 1e-6));
  const Axes axes{by_time.begin()->first, by_time.rbegin()->first, low - margin, high + margin};
  std::string svg = fmt::format(
      "<div class=plot><b>{}</b> over time<svg viewBox=\"0 0 {} {}\" role=img aria-label=\"{} over time\">",
      html::escape(column.title), Axes::kWidth, Axes::kHeight, html::escape(column.title));
  const double step = html::tick_step(axes.high - axes.low);
  const int digits = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
  for (double value = std::ceil(axes.low / step) * step; value <= axes.high; value += step)
    svg += fmt::format(
        "<line class=grid x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/><text x=\"{}\" y=\"{:.1f}\" "
        "text-anchor=end>{:.{}f}</text>",
        Axes::kLeft, Axes::kWidth - Axes::kRight, axes.y(value), axes.y(value), Axes::kLeft - 6,
        axes.y(value) + 4, value, digits);
  for (const double time : {axes.first_time, (axes.first_time + axes.last_time) / 2, axes.last_time})
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=middle>{:.2f}</text>", axes.x(time),
                       Axes::kHeight - 8, time);
  std::string line;
  for (const auto& [time, values] : by_time) {
    double sum = 0;
    for (const double value : values) {
      sum += value;
      svg += fmt::format("<circle class=dot r=3 cx=\"{:.1f}\" cy=\"{:.1f}\"/>", axes.x(time), axes.y(value));
    }
    line += fmt::format("{:.1f},{:.1f} ", axes.x(time), axes.y(sum / static_cast<double>(values.size())));
  }
  return svg + fmt::format("<polyline class=curve points=\"{}\"/></svg></div>\n", line);
}

// ---------------------------------------------------------------- pictures and table

std::string figure(const std::string& picture, const char* caption) {
  return fmt::format("<figure><img alt=\"{}\" src=\"{}\"><figcaption>{}</figcaption></figure>", caption,
                     picture, caption);
}

std::string table(const std::vector<Column>& columns, const std::vector<ViewMetrics>& views) {
  std::string text = "<div class=table><table><thead><tr><th>picture<th>time";
  for (const Column& column : columns) text += "<th>" + html::escape(column.title);
  text += "</thead><tbody>\n";
  for (size_t i = 0; i < views.size(); ++i) {
    text += fmt::format("<tr><td>{}<td>{:.3f}", html::escape(views[i].name), views[i].time);
    for (const Column& column : columns) text += "<td>" + number(column, column.values[i]);
    text += "\n";
  }
  text += "</tbody><tfoot><tr><td>mean<td>";
  for (const Column& column : columns) text += "<td>" + number(column, column.mean);
  return text + "</tfoot></table></div>\n";
}

}  // namespace

Picture error_map(const Picture& a, const Picture& b) {
  Picture map(a.width, a.height, 3);
  for (size_t i = 0; i + 2 < a.data.size(); i += 3) {
    int sum = 0;
    for (size_t c = 0; c < 3; ++c) sum += std::abs(int{a.data[i + c]} - int{b.data[i + c]});
    const double share = std::min(sum / 3.0 / kErrorOfWhite, 1.0) * 3;  // one third each: red, green, blue
    for (size_t c = 0; c < 3; ++c)
      map.data[i + c] =
          static_cast<uint8_t>(std::lround(std::clamp(share - static_cast<double>(c), 0.0, 1.0) * 255));
  }
  return map;
}

EvaluationReport::EvaluationReport(size_t pictures) : chosen_(pictures), shown_(pictures) {
  const size_t shown = std::min(pictures, kShown);
  for (size_t i = 0; i < shown; ++i) chosen_[i * pictures / shown] = true;
}

bool EvaluationReport::shows(size_t picture) const {
  return chosen_[picture];
}

void EvaluationReport::add(size_t picture, const Picture& render, const Picture& truth) {
  shown_[picture] = {address(truth), address(render), address(error_map(render, truth))};
}

void EvaluationReport::write(const std::filesystem::path& path, const EvaluateResult& result,
                             const std::string& split) const {
  const std::vector<Column> columns = columns_of(result);
  const std::vector<ViewMetrics>& views = result.metrics.views;
  const std::string name = html::escape(result.model.generic_string());
  std::string page = fmt::format(
      "<!doctype html>\n<html lang=en><meta charset=utf-8><meta name=viewport "
      "content=\"width=device-width,initial-scale=1\">\n<title>{} · evaluation</title>\n<style>{}</style>\n"
      "<h1>{}</h1>\n<p>split {} of {} · {} pictures · {} iterations · {} Gaussians</p>\n<div class=cards>",
      name, kStyle, name, html::escape(split), html::escape(result.dataset.generic_string()), views.size(),
      result.iterations, result.gaussians);
  for (const Column& column : columns)
    page += fmt::format("<div class=card><span>{} {}</span><b>{}</b></div>", html::escape(column.title),
                        column.more_is_better ? "↑" : "↓", number(column, column.mean));
  page += "</div>\n";
  for (const std::string& line : result.left_out) page += "<p>" + html::escape(line) + "</p>\n";
  page +=
      "<h2>Over time</h2>\n<p>A dot is a picture, the line their mean at each time.</p><div class=plots>\n";
  for (const Column& column : columns) page += plot(column, views);
  page += fmt::format(
      "</div>\n<h2>Pictures</h2>\n<p>{}Error: mean of |render − truth| over the channels, 0 <span "
      "class=scale></span> {} of 255 or more.</p>\n",
      views.size() > kShown ? fmt::format("{} of {}, evenly chosen. ", kShown, views.size()) : "",
      kErrorOfWhite);
  for (size_t i = 0; i < views.size(); ++i) {
    if (!chosen_[i]) continue;
    page +=
        fmt::format("<div class=view><h3>{} <span>· time {:.3f}", html::escape(views[i].name), views[i].time);
    for (const Column& column : columns)
      page += fmt::format(" · {} {}", html::escape(column.title), number(column, column.values[i]));
    page += "</span></h3><div class=three>" + figure(shown_[i].truth, "truth") +
            figure(shown_[i].render, "render") + figure(shown_[i].error, "error") + "</div></div>\n";
  }
  page += "<h2>All figures</h2>\n" + table(columns, views) + "</html>\n";
  write_file_atomically(path, page);
}

}  // namespace eg4d
