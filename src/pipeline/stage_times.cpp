#include "pipeline/stage_times.h"

#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "backend/backend.h"
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

// Whatever else a damaged file holds is nothing.
template <class Number>
Number number_in(const json& record, const char* name) {
  const auto found = record.find(name);
  return found != record.end() && found->is_number() ? found->get<Number>() : Number{};
}

}  // namespace

StageTimes::StageTimes(const std::filesystem::path& run, const Backend& backend)
    : path_(run / "generate.json"), backend_(backend) {}

StageTimes::Record StageTimes::read(const std::string& stage) const {
  const json records = read_records(path_), record = records.value(stage, json());
  if (!record.is_object()) return {};
  Record found{number_in<double>(record, "seconds"),
               number_in<int64_t>(record, "peak_memory_mib"),
               number_in<int64_t>(record, "device_memory_mib"),
               {}};
  const json parts = record.value("parts", json());
  if (parts.is_object())
    for (const auto& [label, seconds] : parts.items())
      if (seconds.is_number()) found.parts[label] = seconds.get<double>();
  return found;
}

void StageTimes::write(const Record& record) {
  json records = read_records(path_);
  records[stage_] = {{"seconds", record.seconds},
                     {"peak_memory_mib", record.peak_memory_mib},
                     {"device_memory_mib", record.device_memory_mib},
                     {"parts", record.parts}};
  // Nothing is lost with it but a note of some seconds: training does not wait for the disk.
  write_file_atomically(path_, records.dump(2) + "\n", Durable::no);
}

void StageTimes::begin(const std::string& stage) {
  stage_ = stage;
  part_.clear();
  earlier_ = read(stage);
  now_ = {};
  looked_ = written_ = Clock::now();
  ticked_ = false;
}

// What passed since the last look.
void StageTimes::look() {
  const Clock::time_point now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - looked_).count();
  looked_ = now;
  now_.seconds += seconds;
  if (!part_.empty()) now_.parts[part_] += seconds;
  now_.device_memory_mib =
      std::max(now_.device_memory_mib, static_cast<int64_t>(backend_.allocated_bytes() >> 20));
}

void StageTimes::tick(const std::string& label) {
  if (stage_.empty()) return;
  look();
  part_ = label;
  if (looked_ - written_ < std::chrono::seconds(2)) return;
  written_ = looked_;
  ticked_ = true;
  Record all = now_;
  all.seconds += earlier_.seconds;
  all.peak_memory_mib = std::max(earlier_.peak_memory_mib, peak_memory_mib());
  all.device_memory_mib = std::max(earlier_.device_memory_mib, now_.device_memory_mib);
  for (const auto& [part, seconds] : earlier_.parts) all.parts[part] += seconds;
  write(all);
}

void StageTimes::end(bool already_done) {
  if (!already_done) {
    written_ = {};
    tick({});
  } else if (ticked_) {
    write(earlier_);
  }
  stage_.clear();
}

}  // namespace eg4d
