#include "io/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"

namespace eg4d::html {
namespace {

constexpr const char* kStyle = R"(
body { font: 16px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 72em; padding: 0 1em; color: #222; background: #fff; }
h1, h2 { font-weight: 600; } h2 { margin-top: 1.6em; }
.row { display: flex; flex-wrap: wrap; gap: 1em; } figure { margin: 0; } figcaption { color: #555; font-size: 14px; max-width: 16em; }
img, video { max-width: 100%; image-rendering: auto; border: 1px solid #ddd; } .row img, .row video { width: 16em; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .2em .8em; border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums; }
.note { background: #fff6d8; border: 1px solid #e8d48a; padding: .6em 1em; } .small { color: #777; font-size: 13px; }
pre { background: #f6f6f6; padding: 1em; overflow: auto; font-size: 13px; }
)";

constexpr const char* kColors[] = {"#1f6fb4", "#d1612b", "#2a8c4a", "#8a4fb0"};

const char* picture_type(Bytes bytes) {
  const auto begins = [&](const char* magic, size_t size) {
    return bytes.size() >= size && std::memcmp(bytes.data(), magic, size) == 0;
  };
  if (begins("\xff\xd8", 2)) return "image/jpeg";
  if (begins("RIFF", 4)) return "image/webp";
  return "image/png";
}

struct Extent {
  double low = INFINITY, high = -INFINITY;
  void add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  void widen() {
    if (high - low < 1e-9) low -= 0.5, high += 0.5;
  }
  double share(double value) const { return (value - low) / (high - low); }
};

}  // namespace

std::string base64(Bytes bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t word = 0;
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    for (size_t k = 0; k < 3; ++k)
      word = word << 8 | (k < count ? std::to_integer<uint32_t>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) text += k <= count ? kDigits[word >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

std::string data_address(std::string_view type, Bytes bytes) {
  return fmt::format("data:{};base64,{}", type, base64(bytes));
}

double tick_step(double range) {
  const double raw = range / 5, power = std::pow(10, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (raw <= factor * power) return factor * power;
  return 10 * power;
}

std::string escape(std::string_view text) {
  std::string safe;
  for (const char c : text) switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      default:
        safe += c;
    }
  return safe;
}

std::string page(const std::string& title, const std::string& body) {
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
      "content=\"width=device-width\">\n<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n{}</body>\n</"
      "html>\n",
      escape(title), kStyle, body);
}

std::string picture(const std::filesystem::path& file) {
  const MappedFile mapped(file);
  return fmt::format("<img alt=\"{}\" src=\"{}\">\n", escape(file.filename().string()),
                     data_address(picture_type(mapped.bytes()), mapped.bytes()));
}

std::string video(const std::filesystem::path& file) {
  const MappedFile mapped(file);
  return fmt::format("<video loop autoplay muted playsinline src=\"{}\"></video>\n",
                     data_address("video/mp4", mapped.bytes()));
}

std::string figure(const std::string& caption, const std::string& element) {
  return fmt::format("<figure>{}<figcaption>{}</figcaption></figure>\n", element, escape(caption));
}

std::string line_plot(const std::string& x_label, const std::string& y_label,
                      const std::vector<Curve>& curves) {
  Extent x, y;
  for (const Curve& curve : curves)
    for (const auto& [a, b] : curve.points)
      if (std::isfinite(a) && std::isfinite(b)) x.add(a), y.add(b);
  if (!(x.low <= x.high)) return {};
  x.widen();
  y.widen();
  constexpr double kWidth = 720, kHeight = 320, kLeft = 60, kBottom = 50, kTop = 15, kRight = 15;
  const auto column = [&](double value) { return kLeft + x.share(value) * (kWidth - kLeft - kRight); };
  const auto row = [&](double value) {
    return kHeight - kBottom - y.share(value) * (kHeight - kBottom - kTop);
  };
  std::string svg = fmt::format(
      "<svg viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" font-size=\"13\" fill=\"#333\" "
      "style=\"max-width:100%\">\n",
      kWidth, kHeight);
  const double y_step = tick_step(y.high - y.low), x_step = tick_step(x.high - x.low);
  for (double value = std::ceil(y.low / y_step) * y_step; value <= y.high; value += y_step)
    svg += fmt::format(
        "<line x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" stroke=\"#ddd\"/><text x=\"{3}\" "
        "y=\"{4:.1f}\" "
        "text-anchor=\"end\">{5:.4g}</text>\n",
        kLeft, kWidth - kRight, row(value), kLeft - 6, row(value) + 4, value);
  for (double value = std::ceil(x.low / x_step) * x_step; value <= x.high; value += x_step)
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{:.6g}</text>\n", column(value),
                       kHeight - kBottom + 18, value);
  svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", (kWidth + kLeft) / 2,
                     kHeight - 8, escape(x_label));
  svg += fmt::format(
      "<text x=\"14\" y=\"{0}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {0})\">{1}</text>\n",
      (kHeight - kBottom + kTop) / 2, escape(y_label));
  for (size_t i = 0; i < curves.size(); ++i) {
    const char* color = kColors[i % std::size(kColors)];
    std::string points;
    for (const auto& [a, b] : curves[i].points)
      if (std::isfinite(a) && std::isfinite(b)) points += fmt::format("{:.1f},{:.1f} ", column(a), row(b));
    svg += fmt::format("<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"2\" points=\"{}\"/>\n", color,
                       points);
    const double top = kHeight - kBottom - 12 - 18 * static_cast<double>(curves.size() - 1 - i);
    svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"{}\">{}</text>\n",
                       kWidth - kRight - 8, top, color, escape(curves[i].name));
  }
  return svg + "</svg>\n";
}

}  // namespace eg4d::html
