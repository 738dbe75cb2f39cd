#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "core/progress.h"

namespace eg4d {

// One display for work in several stages: pieces of work carry the stage's number and name, and beside their
// own figures stands how long everything will still take.
class OverallProgress : public Progress {
 public:
  struct Stage {
    std::string name;
    double share;  // of the whole time, about; the shares add up to 1
  };
  // `on_update` is called with every sign of life: with the label of the piece of work that begins or goes
  // on.
  using OnUpdate = std::function<void(const std::string& label)>;
  OverallProgress(Progress& inner, std::vector<Stage> stages, OnUpdate on_update = {});

  // `what` is shown with the stage's name where not empty. Stages before this one count as done.
  void begin_stage(size_t index, const std::string& what = {});

  void begin(int64_t total, const std::string& label, int64_t done = 0) override;
  void update(int64_t step, std::initializer_list<Figure> figures = {}) override;
  void in_bytes() override;
  void left_in_all(double seconds) override;
  void end() override;
  void message(const std::string& text) override;

  // Share of the whole work that is done, and the seconds that the rest takes at the speed so far (negative
  // while unknown).
  double done() const;
  double seconds_left() const;

 private:
  std::string full_label(const std::string& label) const;

  Progress& inner_;
  const std::vector<Stage> stages_;
  const OnUpdate on_update_;
  size_t stage_ = 0;
  std::string what_, label_;
  // The current piece's place in its stage.
  double piece_begin_ = 0, piece_end_ = 0, piece_done_ = 0;
  int64_t piece_total_ = 1;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  double already_done_ = -1;  // when this process began
};

}  // namespace eg4d
