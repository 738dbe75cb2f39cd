#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>

namespace eg4d {

// A named number shown beside the bar: {"PSNR", 24.1}.
struct Figure {
  const char* name;
  double value;
};

// How long work tells what it is doing. This class is silent; src/app shows a bar, plain lines or JSON lines.
// All calls come from one thread.
class Progress {
 public:
  virtual ~Progress() = default;

  // A piece of work of `total` steps starts; the piece before it is over. `done` steps were made in an
  // earlier run and count for the bar, not for the rate.
  virtual void begin(int64_t total, const std::string& label, int64_t done = 0);
  // `step` steps are done. Cheap enough to be called for each. A figure is shown until its next value; where
  // the line is too long for all of them, those that were named first go first.
  virtual void update(int64_t step, std::initializer_list<Figure> figures = {});
  // The steps of this piece of work are bytes.
  virtual void in_bytes();
  // How long everything will still take, in seconds, where this piece of work is one of several.
  virtual void left_in_all(double seconds);
  virtual void end();
  // A line that stays: "checkpoint written to …".
  virtual void message(const std::string& text);
};

}  // namespace eg4d
