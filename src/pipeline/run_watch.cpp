#include "pipeline/run_watch.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/file_lock.h"
#include "io/json_file.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::uintmax_t kMostRead = 8 << 20;  // of a log at once
constexpr size_t kLongestLine = 1 << 20;
constexpr size_t kMostTests = 2000;
constexpr auto kPaceTime = std::chrono::seconds(30);

double number_in(const json& record, const char* key) {
  const auto found = record.find(key);
  return found != record.end() && found->is_number() ? found->get<double>() : NAN;
}

// 0 when the manifest does not tell.
int64_t iterations_of(const fs::path& stage) {
  try {
    const json manifest = read_json_if_there(stage / "manifest.json");
    const json& options = manifest.at("options");
    if (const auto refinement = options.find("iterations"); refinement != options.end())
      return refinement->get<int64_t>();  // it may end earlier
    const json& schedule = options.at("schedule");
    return schedule.at("coarse_iterations").get<int64_t>() + schedule.at("fine_iterations").get<int64_t>();
  } catch (const std::exception&) {
    return 0;
  }
}

// NaN is no JSON.
json finite(double value) {
  return std::isfinite(value) ? json(value) : json();
}

}  // namespace

// The file holds its number; what a killed process left is not open any more.
int lock_holder(const fs::path& file) {
  int process = 0;
  std::error_code error;
  const fs::path place = fs::canonical(file, error);
  if (error || !(std::ifstream(file) >> process) || process <= 0) return 0;
  for (const auto& opened : fs::directory_iterator(fmt::format("/proc/{}/fd", process), error))
    if (fs::read_symlink(opened.path(), error) == place) return process;
  return 0;
}

bool is_stopped(int process) {
  std::ifstream file(fmt::format("/proc/{}/stat", process));
  std::string text;
  std::getline(file, text);
  const size_t name_end = text.rfind(')');
  return name_end != std::string::npos && name_end + 2 < text.size() && text[name_end + 2] == 'T';
}

void RunWatch::look() {
  process_ = 0;
  fs::path stage = run_ / "coarse";
  for (const char* name : {"refined", "coarse"}) {
    process_ = lock_holder(FileLock::of_folder(run_ / name));
    std::error_code error;
    if (process_ > 0 || (stage_.empty() && fs::exists(run_ / name / "log.jsonl", error))) stage = run_ / name;
    if (process_ > 0) break;
  }
  if (process_ == 0 && !stage_.empty()) stage = stage_;
  // The manifest may come after the first look.
  if (stage == stage_ && iterations_ > 0) return;
  if (stage != stage_) read_ = 0;
  stage_ = stage;
  iterations_ = iterations_of(stage_);
}

void RunWatch::read_log() {
  std::error_code error;
  const fs::path log = stage_ / "log.jsonl";
  const std::uintmax_t size = fs::file_size(log, error);
  if (error) return;
  if (size < read_ || read_ == 0) {  // begun anew, or dropped what lay behind a checkpoint
    read_ = 0;
    unfinished_.clear();
    points_.clear();
    tests_.clear();
    pace_.clear();
    every_ = 1;
    last_ = {};
  }
  std::ifstream file(log, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(read_));
  std::string text(static_cast<size_t>(std::min(size - read_, kMostRead)), '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  read_ += text.size();
  for (const char c : text) {
    if (c != '\n') {
      if (unfinished_.size() < kLongestLine) unfinished_ += c;
      continue;
    }
    take_line(unfinished_);
    unfinished_.clear();
  }
  if (last_.iteration > 0 && (pace_.empty() || pace_.back().second != last_.iteration))
    pace_.emplace_back(Clock::now(), last_.iteration);
  while (pace_.size() > 2 && pace_.back().first - pace_.front().first > kPaceTime) pace_.pop_front();
}

void RunWatch::take_line(const std::string& line) {
  const json record = json::parse(line, nullptr, false);
  if (!record.is_object()) return;
  const double total = number_in(record, "total");
  if (!(total >= 0 && total < 1e15)) return;
  const auto iteration = static_cast<int64_t>(total);
  if (const auto test = record.find("test"); test != record.end() && test->is_object()) {
    if (tests_.size() < kMostTests) tests_.emplace_back(iteration, number_in(*test, "psnr"));
  } else {
    last_ = {iteration, number_in(record, "l1"), number_in(record, "psnr")};
    if (const double count = number_in(record, "gaussians"); std::isfinite(count)) gaussians_ = count;
    if (++skipped_ < every_) return;
    skipped_ = 0;
    points_.push_back(last_);
    if (points_.size() < kMostPoints) return;
    for (size_t i = 0; i < points_.size() / 2; ++i) points_[i] = points_[2 * i + 1];
    points_.resize(points_.size() / 2);
    every_ *= 2;
  }
}

double RunWatch::seconds_left() const {
  if (iterations_ <= 0 || pace_.size() < 2) return -1;
  const double seconds = std::chrono::duration<double>(pace_.back().first - pace_.front().first).count();
  const auto made = static_cast<double>(pace_.back().second - pace_.front().second);
  if (made <= 0 || seconds <= 0) return -1;
  return static_cast<double>(std::max<int64_t>(iterations_ - last_.iteration, 0)) * seconds / made;
}

std::string RunWatch::status() {
  look();
  read_log();
  const char* state = process_ == 0 ? "ended" : is_stopped(process_) ? "paused" : "running";
  json description = {{"state", state},
                      {"stage", stage_.filename().string()},
                      {"iteration", last_.iteration},
                      {"iterations", iterations_},
                      {"gaussians", gaussians_},
                      {"l1", finite(last_.l1)},
                      {"psnr", finite(last_.psnr)},
                      {"seconds_left", process_ == 0 ? -1 : seconds_left()}};
  auto& curve = description["curve"] = json::array();
  for (const Point& point : points_) curve.push_back({point.iteration, finite(point.l1), finite(point.psnr)});
  auto& tests = description["tests"] = json::array();
  for (const auto& [iteration, psnr] : tests_) tests.push_back({iteration, finite(psnr)});
  return description.dump(-1, ' ', false, json::error_handler_t::replace);
}

bool RunWatch::send(Signal signal) {
  look();
  if (process_ <= 0) return false;
  const int number = signal == Signal::pause ? SIGSTOP : signal == Signal::go_on ? SIGCONT : SIGINT;
  if (kill(process_, number) != 0) return false;
  // A paused process takes nothing else.
  if (signal == Signal::stop) kill(process_, SIGCONT);
  return true;
}

}  // namespace eg4d
