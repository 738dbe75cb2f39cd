#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "app/command.h"

namespace eg4d {

// What a progress line shows.
struct ProgressState {
  std::string label;
  int64_t step = 0, total = 0;
  bool bytes = false;  // they are bytes
  double rate = 0;     // steps per second, over the last seconds; 0 while unknown
  std::vector<std::pair<std::string, double>> figures;
  double seconds_left_in_all = -1;  // where this is one of several pieces of work; negative while unknown

  double seconds_left() const;  // negative while unknown
};

// "coarse [====>     ] 1234/6000  45.3/s  1:45 left  loss 0.0123  PSNR 23.45", at most `width` columns: what
// does not fit is left out, the bar first, then the rate, then figures, the first named first; the times that
// are left stay.
std::string progress_bar_line(const ProgressState& state, int width);
// "coarse 1234/6000 (20 %), 45.3/s, 1:45 left, loss 0.0123, PSNR 23.45", for files and pipes.
std::string progress_plain_line(const ProgressState& state);
// {"event":"progress","label":"coarse","step":1234,…}; figures that are not finite are null.
std::string progress_json_line(const ProgressState& state);

std::string format_duration(double seconds);  // "1:45", "2:03:10"
std::string format_figure(double value);      // four significant digits; "12345" for large whole numbers

// The text with long lines broken between words where standard error is a terminal, which would break words.
std::string wrapped_for_stderr(const std::string& text);

// The display that the options and the terminal ask for: a bar or plain lines on stderr, JSON lines on
// stdout, or nothing. Warnings go through it while it lives.
std::unique_ptr<Progress> make_progress_display(const CommonOptions& common);

}  // namespace eg4d
