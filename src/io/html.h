#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/mapped_file.h"

// Pages for people that need nothing but their one file: pictures and videos are inside.
namespace eg4d::html {

std::string escape(std::string_view text);

std::string base64(Bytes bytes);

// "data:image/png;base64,…": what stands for a file inside the page.
std::string data_address(std::string_view type, Bytes bytes);

// A step of 1, 2 or 5 times a power of ten that divides the range (above 0) into a handful.
double tick_step(double range);

// A whole page with our style around `body`.
std::string page(const std::string& title, const std::string& body);

// Elements. The files are read and put inside; Error when they cannot be read.
std::string picture(const std::filesystem::path& file);  // PNG, JPEG or WebP, told by content
std::string video(const std::filesystem::path& file);    // MP4, plays in a loop, muted
std::string figure(const std::string& caption, const std::string& element);

struct Curve {
  std::string name;
  std::vector<std::pair<double, double>> points;  // x ascending; what is not finite is left out
};
// An SVG plot with axes and legend; empty when there is no point.
std::string line_plot(const std::string& x_label, const std::string& y_label,
                      const std::vector<Curve>& curves);

}  // namespace eg4d::html
