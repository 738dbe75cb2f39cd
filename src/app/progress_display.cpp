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

#include "core/log.h"

namespace eg4d {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
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
    state_ = {.label = label, .step = done, .total = total, .rate = 0, .figures = {}};
    samples_.assign(1, {Clock::now(), done});
    shown_ = Clock::now();
    active_ = true;
    dirty_ = false;
  }

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
    finish_line();
    active_ = false;
  }

 protected:
  virtual void show(const ProgressState& state) = 0;
  virtual void show_warning(const std::string& sentence) = 0;
  virtual void finish_line() {}

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
  void show_warning(const std::string& sentence) override { print_above("warning: " + sentence); }
  void finish_line() override {
    if (!line_.empty()) std::fputc('\n', stderr);
    line_.clear();
  }

 private:
  static int terminal_width() {
    winsize size = {};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
  }
  void clear_line() {
    if (!line_.empty()) std::fputs("\r\033[K", stderr);
  }
  void draw() {
    std::fprintf(stderr, "\r\033[K%s", line_.c_str());
    std::fflush(stderr);
  }
  void print_above(const std::string& text) {
    clear_line();
    std::fprintf(stderr, "%s\n", text.c_str());
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

std::string figures_text(const ProgressState& state, const char* separator) {
  std::string text;
  for (const auto& [name, value] : state.figures) text += separator + name + " " + format_figure(value);
  return text;
}

std::string pace_text(const ProgressState& state, const char* separator) {
  if (state.rate <= 0) return "";
  std::string text = separator + format_figure(state.rate) + "/s";
  if (state.seconds_left() > 0) text += separator + format_duration(state.seconds_left()) + " left";
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

std::string progress_bar_line(const ProgressState& state, int width) {
  const std::string head = state.label + " ";
  const std::string tail =
      fmt::format(" {}/{}", state.step, state.total) + pace_text(state, "  ") + figures_text(state, "  ");
  const int room = width - static_cast<int>(head.size() + tail.size()) - 2;
  std::string line = head;
  if (room >= 5) {
    const int inside = std::min(room, 30);
    const int filled = static_cast<int>(fraction_done(state) * inside);
    std::string bar(static_cast<size_t>(filled), '=');
    bar.resize(static_cast<size_t>(inside), ' ');
    if (filled < inside) bar[static_cast<size_t>(filled)] = '>';
    line += "[" + bar + "]";
  }
  line += line.back() == ' ' ? tail.substr(1) : tail;
  if (static_cast<int>(line.size()) > width) line.resize(static_cast<size_t>(std::max(width, 0)));
  return line;
}

std::string progress_plain_line(const ProgressState& state) {
  return fmt::format("{} {}/{} ({:.0f} %)", state.label, state.step, state.total,
                     100 * fraction_done(state)) +
         pace_text(state, ", ") + figures_text(state, ", ");
}

std::string progress_json_line(const ProgressState& state) {
  nlohmann::json line = {
      {"event", "progress"}, {"label", state.label}, {"step", state.step}, {"total", state.total}};
  if (state.rate > 0) {
    line["rate"] = state.rate;
    line["seconds_left"] = state.seconds_left();
  }
  for (const auto& [name, value] : state.figures) line["figures"][name] = value;
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
