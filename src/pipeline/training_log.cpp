#include "pipeline/training_log.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/atomic_file.h"

namespace eg4d {

TrainingLog::TrainingLog(const std::filesystem::path& folder, int64_t done) {
  const std::filesystem::path path = folder / "log.jsonl";
  std::string kept, line;
  for (std::ifstream old(path); std::getline(old, line);) {
    const auto record = nlohmann::json::parse(line, nullptr, false);
    if (record.is_object() && record.value("total", int64_t{-1}) <= done) kept += line + "\n";
  }
  write_file_atomically(path, kept);
  file_.open(path, std::ios::app);
  if (!file_) throw Error(fmt::format("cannot write '{}'", path.string()));
}

void TrainingLog::step(int64_t iteration, const char* stage, double l1, double psnr, int64_t gaussians) {
  file_ << nlohmann::json{{"total", iteration},
                          {"stage", stage},
                          {"l1", l1},
                          {"psnr", psnr},
                          {"gaussians", gaussians}}
               .dump()
        << '\n';
}

void TrainingLog::evaluation(int64_t iteration, const std::string& record, double, double, double) {
  file_ << nlohmann::json{{"total", iteration}, {"test", nlohmann::json::parse(record)}}.dump() << '\n';
  file_.flush();
}

void TrainingLog::flush() {
  file_.flush();
}

}  // namespace eg4d
