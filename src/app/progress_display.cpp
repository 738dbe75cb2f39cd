#include "app/progress_display.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <deque>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/log.h"
#include "core/text_layout.h"

namespace eg4d {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

int terminal_width() {
  winsize size = {};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

// Work in one step shows no number.
bool is_counted(const ProgressState& state) {
  return state.total > 1 || state.step > 1;
}

// Keeps the state of the current piece of work and decides when it is shown again.
class ProgressDisplay : public Progress {
 public:
  explicit ProgressDisplay(double interval) : interval_(interval) {
    set_warning_sink([this](const std::string& sentence) { show_warning(sentence); });
  }
  ~ProgressDisplay() override { set_warning_sink({}); }

  void begin(int64_t total, const std::string& label, int64_t done) override {
    ProgressDisplay::end();
    state_ = {};
    state_.label = label;
    state_.step = done;
    state_.total = total;
    samples_.assign(1, {Clock::now(), done});
    shown_ = Clock::now();
    active_ = true;
    dirty_ = false;
    show_begin(state_);
  }

  void in_bytes() override { state_.bytes = true; }
  void left_in_all(double seconds) override { state_.seconds_left_in_all = seconds; }

  void update(int64_t step, std::initializer_list<Figure> figures) override {
    state_.step = step;
    for (const Figure& figure : figures) set_figure(figure);
    dirty_ = true;
    const Clock::time_point now = Clock::now();
    if (seconds_between(shown_, now) < interval_) return;
    refresh(now);
  }

  void end() override {
    if (!active_) return;
    if (dirty_) refresh(Clock::now());
    finish_line(state_);
    active_ = false;
  }

 protected:
  virtual void show(const ProgressState& state) = 0;
  virtual void show_begin(const ProgressState&) {}
  virtual void show_warning(const std::string& sentence) = 0;
  // The piece of work is over.
  virtual void finish_line(const ProgressState&) {}

 private:
  void set_figure(const Figure& figure) {
    const auto found = std::find_if(state_.figures.begin(), state_.figures.end(),
                                    [&figure](const auto& known) { return known.first == figure.name; });
    if (found != state_.figures.end()) {
      found->second = figure.value;
    } else {
      state_.figures.emplace_back(figure.name, figure.value);
    }
  }

  void refresh(Clock::time_point now) {
    // The rate is that of the last half minute or so: training becomes slower as Gaussians grow in number.
    samples_.emplace_back(now, state_.step);
    while (samples_.size() > 2 && seconds_between(samples_.front().first, now) > 30) samples_.pop_front();
    const double seconds = seconds_between(samples_.front().first, now);
    if (seconds > 0) state_.rate = static_cast<double>(state_.step - samples_.front().second) / seconds;
    shown_ = now;
    dirty_ = false;
    show(state_);
  }

  double interval_;
  ProgressState state_;
  std::deque<std::pair<Clock::time_point, int64_t>> samples_;
  Clock::time_point shown_;
  bool active_ = false, dirty_ = false;
};

// Rewrites one line of a terminal.
class TerminalBar : public ProgressDisplay {
 public:
  TerminalBar() : ProgressDisplay(0.1) {}
  ~TerminalBar() override { clear_line(); }

  void message(const std::string& text) override { print_above(text); }

 protected:
  void show(const ProgressState& state) override {
    line_ = progress_bar_line(state, terminal_width() - 1);
    draw();
  }
  // What it is busy with is seen from the first moment on: reading weights can take a minute.
  void show_begin(const ProgressState& state) override { show(state); }
  void show_warning(const std::string& sentence) override { print_above("warning: " + sentence); }
  // Lines of work in one step would only say that it is over.
  void finish_line(const ProgressState& state) override {
    if (!is_counted(state)) {
      clear_line();
    } else if (!line_.empty()) {
      std::fputc('\n', stderr);
    }
    line_.clear();
  }

 private:
  void clear_line() {
    if (!line_.empty()) std::fputs("\r\033[K", stderr);
  }
  void draw() {
    std::fprintf(stderr, "\r\033[K%s", line_.c_str());
    std::fflush(stderr);
  }
  void print_above(const std::string& text) {
    clear_line();
    std::fprintf(stderr, "%s\n", wrapped_for_stderr(text).c_str());
    if (!line_.empty()) draw();
  }

  std::string line_;
};

class PlainLines : public ProgressDisplay {
 public:
  PlainLines() : ProgressDisplay(5) {}
  void message(const std::string& text) override { std::fprintf(stderr, "%s\n", text.c_str()); }

 protected:
  void show(const ProgressState& state) override {
    std::fprintf(stderr, "%s\n", progress_plain_line(state).c_str());
  }
  void show_warning(const std::string& sentence) override {
    std::fprintf(stderr, "warning: %s\n", sentence.c_str());
  }
};

class JsonLines : public ProgressDisplay {
 public:
  JsonLines() : ProgressDisplay(1) {}
  void message(const std::string& text) override { print({{"event", "message"}, {"text", text}}); }

 protected:
  void show(const ProgressState& state) override {
    std::puts(progress_json_line(state).c_str());
    std::fflush(stdout);
  }
  void show_warning(const std::string& sentence) override {
    print({{"event", "warning"}, {"text", sentence}});
  }

 private:
  static void print(const nlohmann::json& line) {
    std::puts(line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    std::fflush(stdout);
  }
};

std::string bytes_text(double bytes) {
  if (bytes >= 1e9) return fmt::format("{:.2f} GB", bytes / 1e9);
  if (bytes >= 1e6) return fmt::format("{:.1f} MB", bytes / 1e6);
  return fmt::format("{:.0f} KB", bytes / 1e3);
}

// "1234/6000", "1.23 GB of 4.78 GB"; what is done alone where the whole is not known.
std::string steps_text(const ProgressState& state) {
  const auto text = [&state](int64_t count) {
    return state.bytes ? bytes_text(static_cast<double>(count)) : std::to_string(count);
  };
  if (state.total <= 0) return text(state.step);
  return text(state.step) + (state.bytes ? " of " : "/") + text(state.total);
}

// "45.3/s", or "4.2 s each" of what takes long.
std::string rate_text(const ProgressState& state) {
  const double rate = state.rate;
  if (state.bytes) return bytes_text(rate) + "/s";
  if (rate >= 1) return (rate < 1000 ? fmt::format("{:.3g}", rate) : format_figure(rate)) + "/s";
  const double seconds = 1 / rate;
  return (seconds < 60 ? fmt::format("{:.1f} s", seconds) : format_duration(seconds)) + " each";
}

// A part of a line and how easily it is left out: the highest first, 0 never.
struct LinePart {
  std::string text;
  int expendable = 0;
};

// Steps, pace, time left, figures: whatever is known.
std::vector<LinePart> line_parts(const ProgressState& state) {
  std::vector<LinePart> parts;
  const bool counted = is_counted(state);
  if (counted) parts.push_back({steps_text(state), 0});
  const auto figures = static_cast<int>(state.figures.size());
  if (counted && state.rate > 0) {
    parts.push_back({rate_text(state), figures + 1});
    if (state.seconds_left() > 0) parts.push_back({format_duration(state.seconds_left()) + " left", 0});
  }
  for (int i = 0; i < figures; ++i) {
    const auto& [name, value] = state.figures[static_cast<size_t>(i)];
    parts.push_back({name + " " + format_figure(value), figures - i});
  }
  if (state.seconds_left_in_all >= 0)
    parts.push_back({format_duration(state.seconds_left_in_all) + " left in all", 0});
  return parts;
}

std::string joined(const std::vector<LinePart>& parts, const char* separator) {
  std::string text;
  for (const LinePart& part : parts) text += (text.empty() ? "" : separator) + part.text;
  return text;
}

double fraction_done(const ProgressState& state) {
  if (state.total <= 0) return 1;
  return std::clamp(static_cast<double>(state.step) / static_cast<double>(state.total), 0.0, 1.0);
}

}  // namespace

double ProgressState::seconds_left() const {
  return rate > 0 ? static_cast<double>(std::max<int64_t>(total - step, 0)) / rate : -1;
}

std::string format_duration(double seconds) {
  const auto whole = static_cast<int64_t>(std::clamp(std::ceil(seconds), 0.0, 1e12));
  const int64_t hours = whole / 3600, minutes = whole / 60 % 60, rest = whole % 60;
  return hours > 0 ? fmt::format("{}:{:02}:{:02}", hours, minutes, rest)
                   : fmt::format("{}:{:02}", minutes, rest);
}

std::string format_figure(double value) {
  if (std::abs(value) >= 1000 && std::abs(value) < 1e15) return fmt::format("{:.0f}", value);
  return fmt::format("{:.4g}", value);
}

std::string wrapped_for_stderr(const std::string& text) {
  if (!isatty(STDERR_FILENO)) return text;
  std::string wrapped;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const bool fits = display_width(line) <= terminal_width();
    for (const std::string& part : fits ? std::vector{line} : wrap_words(line, terminal_width()))
      wrapped += (wrapped.empty() ? "" : "\n") + part;
  }
  return wrapped;
}

std::string progress_bar_line(const ProgressState& state, int width) {
  std::vector<LinePart> parts = line_parts(state);
  const auto room = [&] {
    return width - display_width(state.label) - 1 - display_width(joined(parts, "  "));
  };
  while (room() < 0) {
    const auto least = std::max_element(
        parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.expendable < b.expendable; });
    if (least == parts.end() || least->expendable == 0) break;
    parts.erase(least);
  }
  std::string line = state.label + (parts.empty() ? " …" : " ");
  const int inside = std::min(room() - 3, 30);
  if (inside >= 5 && state.total > 1) {
    const int filled = static_cast<int>(fraction_done(state) * inside);
    std::string bar(static_cast<size_t>(filled), '=');
    bar.resize(static_cast<size_t>(inside), ' ');
    if (filled < inside) bar[static_cast<size_t>(filled)] = '>';
    line += "[" + bar + "] ";
  }
  return cut_to_width(line + joined(parts, "  "), width);
}

std::string progress_plain_line(const ProgressState& state) {
  std::vector<LinePart> parts = line_parts(state);
  if (state.total > 1) parts.front().text += fmt::format(" ({:.0f} %)", 100 * fraction_done(state));
  return state.label + (parts.empty() ? "" : " " + joined(parts, ", "));
}

std::string progress_json_line(const ProgressState& state) {
  nlohmann::json line = {
      {"event", "progress"}, {"label", state.label}, {"step", state.step}, {"total", state.total}};
  if (state.rate > 0) {
    line["rate"] = state.rate;
    line["seconds_left"] = state.seconds_left();
  }
  for (const auto& [name, value] : state.figures) line["figures"][name] = value;
  if (state.seconds_left_in_all >= 0) line["figures"]["minutes left in all"] = state.seconds_left_in_all / 60;
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::unique_ptr<Progress> make_progress_display(const CommonOptions& common) {
  if (common.log_json) return std::make_unique<JsonLines>();
  if (common.quiet) return std::make_unique<Progress>();
  const char* terminal = std::getenv("TERM");
  const bool can_rewrite = isatty(STDERR_FILENO) && terminal && std::string(terminal) != "dumb";
  if (can_rewrite) return std::make_unique<TerminalBar>();
  return std::make_unique<PlainLines>();
}

}  // namespace eg4d
