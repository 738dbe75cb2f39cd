#include "pipeline/stage_times.h"

#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "io/atomic_file.h"

namespace eg4d {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

json read_records(const std::filesystem::path& path) {
  std::ifstream file(path);
  json records = json::parse(file, nullptr, false);
  return records.is_object() ? records : json::object();
}

int64_t peak_memory_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

}  // namespace

StageTimes::StageTimes(const std::filesystem::path& run) : path_(run / "generate.json") {}

StageTimes::Record StageTimes::read(const std::string& stage) const {
  const json record = read_records(path_).value(stage, json());
  if (!record.is_object()) return {};
  return {record.value("seconds", 0.0), record.value("peak_memory_mib", int64_t{0})};
}

void StageTimes::write(const Record& record) {
  json records = read_records(path_);
  records[stage_] = {{"seconds", record.seconds}, {"peak_memory_mib", record.peak_memory_mib}};
  // Nothing is lost with it but a note of some seconds: training does not wait for the disk.
  write_file_atomically(path_, records.dump(2) + "\n", Durable::no);
}

void StageTimes::begin(const std::string& stage) {
  stage_ = stage;
  earlier_ = read(stage);
  start_ = written_ = Clock::now();
  ticked_ = false;
}

void StageTimes::tick() {
  const Clock::time_point now = Clock::now();
  if (stage_.empty() || now - written_ < std::chrono::seconds(2)) return;
  written_ = now;
  ticked_ = true;
  write({earlier_.seconds + std::chrono::duration<double>(now - start_).count(),
         std::max(earlier_.peak_memory_mib, peak_memory_mib())});
}

void StageTimes::end(bool already_done) {
  if (!already_done) {
    written_ = {};
    tick();
  } else if (ticked_) {
    write(earlier_);
  }
  stage_.clear();
}

}  // namespace eg4d
