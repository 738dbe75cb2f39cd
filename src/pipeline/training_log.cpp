#include "pipeline/training_log.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/atomic_file.h"

namespace eg4d {

using nlohmann::json;

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

void TrainingLog::step(int64_t iteration, const char* stage, const std::vector<Figure>& figures) {
  json record{{"total", iteration}, {"stage", stage}};
  for (const Figure& figure : figures) {
    record[figure.name] = figure.value;
    events_.add_scalar(fmt::format("train/{}", figure.name), figure.value, iteration);
  }
  file_ << record.dump() << '\n';
}

void TrainingLog::evaluation(int64_t iteration, const std::string& record, const EvaluationMetrics& metrics,
                             const Picture& picture) {
  file_ << json{{"total", iteration}, {"test", json::parse(record)}}.dump() << '\n';
  events_.add_scalar("test/psnr", metrics.psnr, iteration);
  events_.add_scalar("test/ssim", metrics.ssim, iteration);
  events_.add_scalar("test/l1", metrics.l1, iteration);
  events_.add_picture("test/rendered beside truth", picture, iteration);
  flush();
}

void TrainingLog::flush() {
  file_.flush();
  if (!file_) throw Error("cannot write log.jsonl; is the disk full?");
  events_.flush();
}

}  // namespace eg4d
