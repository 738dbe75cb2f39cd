#include "pipeline/training_log.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/atomic_file.h"

namespace eg4d {

using nlohmann::json;

namespace {

// What the Python program calls a figure of ours, after its stage; null for what it does not log.
const char* reference_tag(const std::string& figure) {
  if (figure == "l1") return "train_loss_patches/l1_loss";
  if (figure == "gaussians") return "total_points";
  return nullptr;
}

}  // namespace

TrainingLog::TrainingLog(const std::filesystem::path& folder, int64_t done) : events_(folder, done) {
  const std::filesystem::path path = folder / "log.jsonl";
  std::string kept, line;
  for (std::ifstream old(path); std::getline(old, line);) {
    const json record = json::parse(line, nullptr, false);
    if (record.is_object() && record.value("total", int64_t{-1}) <= done) kept += line + "\n";
  }
  write_file_atomically(path, kept);
  file_.open(path, std::ios::app);
  if (!file_) throw Error(fmt::format("cannot write '{}'", path.string()));
}

void TrainingLog::add_scalar(const std::string& tag, double value, int64_t iteration) {
  const std::lock_guard lock(events_mutex_);
  events_.add_scalar(tag, value, iteration);
}

void TrainingLog::step(int64_t iteration, const char* stage, const std::vector<Figure>& figures) {
  json record{{"total", iteration}, {"stage", stage}};
  for (const Figure& figure : figures) {
    record[figure.name] = figure.value;
    add_scalar(fmt::format("train/{}", figure.name), figure.value, iteration);
    if (const char* tag = reference_tag(figure.name))
      add_scalar(fmt::format("{}/{}", stage, tag), figure.value, iteration);
  }
  stage_ = stage;
  file_ << record.dump() << '\n';
}

void TrainingLog::evaluation(int64_t iteration, const std::string& record, const EvaluationMetrics& metrics,
                             Picture picture) {
  file_ << json{{"total", iteration}, {"test", json::parse(record)}}.dump() << '\n';
  add_scalar("test/psnr", metrics.psnr, iteration);
  add_scalar("test/ssim", metrics.ssim, iteration);
  add_scalar("test/l1", metrics.l1, iteration);
  if (!stage_.empty()) {
    add_scalar(stage_ + "/test/loss_viewpoint - l1_loss", metrics.l1, iteration);
    add_scalar(stage_ + "/test/loss_viewpoint - psnr", metrics.psnr, iteration);
  }
  flush_lines();
  const size_t bytes = picture.data.size();
  pictures_.push(bytes, [this, iteration, picture = std::move(picture)] {
    const EncodedPicture encoded = encoded_picture(picture);
    const std::lock_guard lock(events_mutex_);
    events_.add_picture("test/rendered beside truth", encoded, iteration);
    events_.flush();
  });
}

void TrainingLog::flush_lines() {
  file_.flush();
  if (!file_) throw Error("cannot write log.jsonl; is the disk full?");
  const std::lock_guard lock(events_mutex_);
  events_.flush();
}

void TrainingLog::flush() {
  pictures_.finish();
  flush_lines();
}

}  // namespace eg4d
