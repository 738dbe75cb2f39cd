#include "pipeline/overall_progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace eg4d {
namespace {

// Where the pieces of work that take long lie in their stage; the others are too short to matter.
std::pair<double, double> place_in_stage(const std::string& label) {
  if (label == "denoising") return {0.02, 0.8};
  if (label == "decoding") return {0.8, 1};
  if (label == "reconstructing") return {0.02, 0.95};
  if (label == "refining") return {0.05, 0.95};
  return {-1, -1};
}

}  // namespace

OverallProgress::OverallProgress(Progress& inner, std::vector<Stage> stages, OnUpdate on_update)
    : inner_(inner), stages_(std::move(stages)), on_update_(std::move(on_update)) {}

void OverallProgress::begin_stage(size_t index, const std::string& what) {
  stage_ = index;
  what_ = what;
  piece_begin_ = piece_end_ = piece_done_ = 0;
}

void OverallProgress::begin(int64_t total, const std::string& label, int64_t done) {
  label_ = label;
  if (on_update_) on_update_(label_);
  const auto [begin, end] = place_in_stage(label);
  piece_begin_ = begin < 0 ? piece_begin_ + (piece_end_ - piece_begin_) * piece_done_ : begin;
  piece_end_ = begin < 0 ? piece_begin_ : end;
  piece_total_ = std::max<int64_t>(total, 1);
  piece_done_ = static_cast<double>(done) / static_cast<double>(piece_total_);
  if (already_done_ < 0 && begin >= 0) {
    already_done_ = this->done();
    start_ = std::chrono::steady_clock::now();
  }
  inner_.begin(total, full_label(label), done);
  if (const double left = seconds_left(); left >= 0) inner_.left_in_all(left);
}

// "2/5 multiview photo: denoising", but "3/5 reconstructing": the work itself says which stage it is.
std::string OverallProgress::full_label(const std::string& label) const {
  const std::string& stage = stages_[stage_].name;
  const bool same = label.starts_with(stage.substr(0, stage.size() - 1));
  std::string place = same ? "" : stage;
  if (!what_.empty()) place += (place.empty() ? "" : " ") + what_;
  return fmt::format("{}/{} {}{}", stage_ + 1, stages_.size(), place.empty() ? "" : place + ": ", label);
}

void OverallProgress::update(int64_t step, std::initializer_list<Figure> figures) {
  if (on_update_) on_update_(label_);
  piece_done_ = std::min(static_cast<double>(step) / static_cast<double>(piece_total_), 1.0);
  if (const double left = seconds_left(); left >= 0) inner_.left_in_all(left);
  inner_.update(step, figures);
}

void OverallProgress::in_bytes() {
  inner_.in_bytes();
}

void OverallProgress::left_in_all(double seconds) {
  inner_.left_in_all(seconds);
}

void OverallProgress::end() {
  inner_.end();
}

void OverallProgress::message(const std::string& text) {
  inner_.message(text);
}

double OverallProgress::done() const {
  double sum = 0;
  for (size_t i = 0; i < stage_; ++i) sum += stages_[i].share;
  return sum + stages_[stage_].share * (piece_begin_ + (piece_end_ - piece_begin_) * piece_done_);
}

double OverallProgress::seconds_left() const {
  const double made = done() - already_done_;
  if (already_done_ < 0 || made < 0.01) return -1;
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start_;
  return spent.count() / made * std::max(1 - done(), 0.0);
}

}  // namespace eg4d
