#include "pipeline/job_queue.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/clip.h"
#include "io/image.h"
#include "io/json_file.h"
#include "picture/picture_resize.h"
#include "pipeline/run_summary.h"
#include "view/viewer_content.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kMostJobs = 1000;  // that are read from a folder
constexpr size_t kLongestName = 40;
constexpr std::streamoff kLogTail = 32768;
constexpr int kThumbnailSide = 256;
constexpr auto kPatience = std::chrono::seconds(10);  // until what was told to stop is killed

constexpr std::pair<Job::State, const char*> kStates[] = {
    {Job::State::waiting, "waiting"},   {Job::State::running, "running"},
    {Job::State::stopping, "stopping"}, {Job::State::cancelled, "cancelled"},
    {Job::State::failed, "failed"},     {Job::State::done, "done"}};

fs::path job_folder(const fs::path& run) {
  return run / "job";
}
fs::path log_of(const fs::path& run) {
  return job_folder(run) / "output.log";
}

std::optional<Job> read_job(const fs::path& run) {
  try {
    const json stored = read_json(job_folder(run) / "job.json");
    Job job;
    job.preset = stored.at("preset");
    job.picture = stored.at("picture");
    job.is_video = stored.value("video", false);
    job.message = stored.value("message", "");
    job.order = stored.value("order", int64_t{0});
    const std::string state = stored.at("state");
    for (const auto& [value, name] : kStates)
      if (state == name) job.state = value;
    // A file beside it, and nothing else.
    if (fs::path(job.picture).filename() != job.picture || job.picture.starts_with('.')) return {};
    return job;
  } catch (const std::exception&) {
    return {};
  }
}

bool begins_with(std::string_view bytes, std::string_view start, size_t at = 0) {
  return bytes.size() >= at && bytes.substr(at, start.size()) == start;
}

bool is_video(std::string_view bytes) {
  return begins_with(bytes, "ftyp", 4) || begins_with(bytes, "\x1a\x45\xdf\xa3") ||
         (begins_with(bytes, "RIFF") && begins_with(bytes, "AVI ", 8)) || begins_with(bytes, "GIF8") ||
         begins_with(bytes, "moov", 4);
}

// By content; empty for what is no picture.
std::string extension_of(std::string_view bytes) {
  if (begins_with(bytes, "\x89PNG")) return ".png";
  if (begins_with(bytes, "\xff\xd8\xff")) return ".jpg";
  if (begins_with(bytes, "RIFF") && begins_with(bytes, "WEBP", 8)) return ".webp";
  return {};
}

// What a person called a picture, as the name of a folder: "My cat (2).JPG" is My-cat-2.
std::string folder_name(const std::string& name) {
  const size_t dot = name.rfind('.'), slash = name.find_last_of("/\\");
  const bool extension = dot != std::string::npos && dot > 0 && (slash == std::string::npos || dot > slash);
  std::string plain;
  for (const char c : name.substr(0, extension ? dot : std::string::npos)) {
    const bool letter =
        (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    if (letter && plain.size() < kLongestName) plain += c;
    if (!letter && !plain.empty() && plain.back() != '-') plain += '-';
  }
  while (!plain.empty() && plain.back() == '-') plain.pop_back();
  return plain.empty() ? "object" : plain;
}

std::string log_tail(const fs::path& run) {
  std::ifstream file(log_of(run), std::ios::binary | std::ios::ate);
  const std::streamoff size = file ? static_cast<std::streamoff>(file.tellg()) : 0;
  if (size <= 0) return {};
  const std::streamoff count = std::min(size, kLogTail);
  std::string text(static_cast<size_t>(count), '\0');
  file.seekg(size - count);
  file.read(text.data(), count);
  text.resize(static_cast<size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  return text;
}

std::string last_error(const fs::path& run) {
  std::istringstream lines(log_tail(run));
  std::string error;
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("error: ")) error = line.substr(7);
  return error;
}

std::string reason_of(const fs::path& run, int exit_code) {
  if (const std::string error = last_error(run); !error.empty()) return error;
  if (exit_code == 128 + SIGKILL) return "it was killed; there may have been too little memory";
  return fmt::format("it ended with exit code {}", exit_code);
}

double number_in(const json& line, const char* key, double otherwise) {
  const auto found = line.find(key);
  return found != line.end() && found->is_number() ? found->get<double>() : otherwise;
}

Picture decode_upload(std::string_view bytes, const std::string& name, int64_t most_pixels) {
  if (is_video(bytes))
    throw Refusal(415, "a video is sent as its frames: drop it on the viewer's page, which takes them out");
  if (extension_of(bytes).empty())
    throw Refusal(415, "this is no picture that can be read: PNG, JPEG and WebP can");
  try {
    return decode_picture(std::as_bytes(std::span(bytes)), fmt::format("'{}'", name),
                          {.max_pixels = most_pixels});
  } catch (const Error& error) {
    throw Refusal(415, error.what());
  }
}

// What came, of which nothing is written before all of it was decoded.
struct Upload {
  std::vector<std::string_view> files;  // the picture, or a video's frames
  bool is_video = false;
  Picture thumbnail;
};

Upload take_upload(std::string_view bytes, const std::string& name) {
  Upload upload{{bytes}, is_clip(bytes), {}};
  try {
    if (upload.is_video) upload.files = clip_frames(bytes, JobQueue::kMostFrames);
  } catch (const Error& error) {
    throw Refusal(415, error.what());
  }
  const int64_t most = upload.is_video ? JobQueue::kMostFramePixels : JobQueue::kMostPixels;
  for (const std::string_view file : upload.files) {
    const Picture picture = decode_upload(file, name, most);
    if (upload.thumbnail.data.empty()) upload.thumbnail = thumbnail(picture, kThumbnailSide, kThumbnailSide);
  }
  return upload;
}

}  // namespace

const char* name_of(Job::State state) {
  return std::find_if(std::begin(kStates), std::end(kStates),
                      [&](const auto& known) { return known.first == state; })
      ->second;
}

bool is_job(const fs::path& run) {
  std::error_code error;
  return fs::is_regular_file(job_folder(run) / "job.json", error);
}

fs::path job_thumbnail(const fs::path& run) {
  return job_folder(run) / "thumbnail.png";
}

JobProgress progress_of_job(const fs::path& run) {
  JobProgress progress;
  std::istringstream lines(log_tail(run));
  for (std::string text; std::getline(lines, text);) {
    const json line = json::parse(text, nullptr, false);
    if (!line.is_object()) continue;
    const auto event = line.find("event");
    if (event == line.end()) continue;
    const auto word = [&](const char* key) {
      const auto found = line.find(key);
      return found != line.end() && found->is_string() ? found->get<std::string>() : std::string();
    };
    if (*event == "warning") progress.warning = word("text");
    if (*event != "progress") continue;
    progress.label = word("label");
    progress.step = static_cast<int64_t>(std::clamp(number_in(line, "step", 0), 0.0, 1e15));
    progress.total = static_cast<int64_t>(std::clamp(number_in(line, "total", 0), 0.0, 1e15));
    const auto figures = line.find("figures");
    const double minutes =
        figures != line.end() && figures->is_object() ? number_in(*figures, "minutes left in all", -1) : -1;
    progress.seconds_left = minutes < 0 ? -1 : 60 * minutes;
  }
  return progress;
}

JobQueue::JobQueue(fs::path folder, Arguments arguments, fs::path program)
    : folder_(std::move(folder)), arguments_(std::move(arguments)), program_(std::move(program)) {
  if (access(folder_.c_str(), W_OK) != 0)
    throw Error(fmt::format("nothing can be written to '{}': {}", folder_.string(), std::strerror(errno)));
  lock_.emplace(FileLock::of_folder(folder_), fmt::format("'{}'", folder_.string()));
  read_jobs();
}

JobQueue::~JobQueue() {
  if (child_) child_->signal(SIGINT);
  if (child_) child_->signal(SIGCONT);
}

// One that ran has not ended: it goes on.
void JobQueue::read_jobs() {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    if (entry.is_symlink(error) || !is_job(entry.path()) || jobs_.size() >= kMostJobs) continue;
    std::optional<Job> job = read_job(entry.path());
    if (!job) continue;
    if (job->state == Job::State::running) job->state = Job::State::waiting;
    if (job->state == Job::State::stopping) job->state = Job::State::cancelled;
    jobs_.emplace(entry.path().filename().string(), std::move(*job));
  }
}

void JobQueue::write(const std::string& run, const Job& job) const {
  const json stored = {{"version", 1},           {"state", name_of(job.state)}, {"preset", job.preset},
                       {"picture", job.picture}, {"message", job.message},      {"order", job.order},
                       {"video", job.is_video}};
  write_file_atomically(job_folder(folder_ / run) / "job.json",
                        stored.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
}

void JobQueue::set(const std::string& run, Job::State state, const std::string& message) {
  Job& job = jobs_.at(run);
  job.state = state;
  job.message = message;
  try {
    write(run, job);
  } catch (const Error&) {
    // A full disk, or a folder that somebody has removed: it holds while this process lives.
  }
}

int64_t JobQueue::next_order() const {
  int64_t last = 0;
  for (const auto& [run, job] : jobs_) last = std::max(last, job.order);
  return last + 1;
}

std::string JobQueue::add(const std::string& preset, const std::string& name, std::string_view bytes) {
  const auto waiting = std::count_if(jobs_.begin(), jobs_.end(), [](const auto& entry) {
    return entry.second.state == Job::State::waiting;
  });
  if (static_cast<size_t>(waiting) >= kMostWaiting)
    throw Refusal(429, fmt::format("{} pictures are waiting already: send this one later", waiting));
  std::error_code error;
  const fs::space_info space = fs::space(folder_, error);
  if (!error && space.available < kLeastSpace)
    throw Refusal(507, "there is less than 1 GiB left on the disk of the runs");
  const Upload upload = take_upload(bytes, name);

  const std::string wanted = folder_name(name);
  std::string run = wanted;
  for (int i = 2; !fs::create_directory(folder_ / run, error); ++i) {
    std::error_code other;
    if (error && !fs::exists(folder_ / run, other))
      throw Refusal(500, fmt::format("no folder can be made for the run: {}", error.message()));
    run = fmt::format("{}-{}", wanted, i);
  }
  Job job;
  job.preset = preset;
  job.is_video = upload.is_video;
  job.picture = upload.is_video ? wanted : wanted + extension_of(bytes);
  job.order = next_order();
  try {
    const fs::path folder = job_folder(folder_ / run);
    fs::create_directory(folder);
    if (upload.is_video) fs::create_directory(folder / job.picture);
    for (size_t i = 0; i < upload.files.size(); ++i) {
      const std::string_view file = upload.files[i];
      const fs::path frame = fs::path(job.picture) / fmt::format("frame_{:03}{}", i, extension_of(file));
      write_file_atomically(folder / (upload.is_video ? frame : fs::path(job.picture)), file);
    }
    write_png(job_thumbnail(folder_ / run), upload.thumbnail);
    write(run, job);
  } catch (const std::exception& failure) {
    fs::remove_all(folder_ / run, error);
    throw Refusal(507, failure.what());
  }
  jobs_.emplace(run, std::move(job));
  return run;
}

const Job* JobQueue::find(const std::string& run) const {
  const auto found = jobs_.find(run);
  return found == jobs_.end() ? nullptr : &found->second;
}

int JobQueue::place_of(const std::string& run) const {
  const Job* job = find(run);
  return static_cast<int>(std::count_if(jobs_.begin(), jobs_.end(), [&](const auto& entry) {
    return job && entry.second.state == Job::State::waiting && entry.second.order < job->order;
  }));
}

bool JobQueue::cancel(const std::string& run) {
  const Job* job = find(run);
  if (!job || (job->state != Job::State::waiting && job->state != Job::State::running)) return false;
  if (run != running_) {
    set(run, Job::State::cancelled);
    return true;
  }
  set(run, Job::State::stopping);
  child_->signal(SIGINT);
  child_->signal(SIGCONT);  // a paused one takes nothing else
  kill_at_ = Clock::now() + kPatience;
  return true;
}

bool JobQueue::resume(const std::string& run) {
  const Job* job = find(run);
  if (!job || (job->state != Job::State::cancelled && job->state != Job::State::failed)) return false;
  jobs_.at(run).order = next_order();
  set(run, Job::State::waiting);
  return true;
}

void JobQueue::tick() {
  if (child_) {
    if (const std::optional<int> code = child_->exit_code())
      take_end(*code);
    else if (Clock::now() >= kill_at_)
      child_->signal(SIGKILL);
    return;
  }
  const std::string* next = nullptr;
  int64_t order = INT64_MAX;
  for (const auto& [run, job] : jobs_)
    if (job.state == Job::State::waiting && job.order < order) {
      next = &run;
      order = job.order;
    }
  // What was begun before this process came, and still runs, is waited for.
  if (next && process_in_run(folder_ / *next) == 0) start(*next);
}

void JobQueue::start(const std::string& run) {
  const fs::path place = fs::absolute(folder_ / run);
  const Job& job = jobs_.at(run);
  Arguments arguments = {"generate"};
  if (job.is_video) arguments.emplace_back("--video");
  arguments.insert(arguments.end(), {(job_folder(place) / job.picture).string(), "-o", place.string(),
                                     "--preset", job.preset, "--log-json"});
  arguments.insert(arguments.end(), arguments_.begin(), arguments_.end());
  const int log = open(log_of(place).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (log < 0)
    return set(run, Job::State::failed, fmt::format("its log cannot be written: {}", std::strerror(errno)));
  try {
    child_ = std::make_unique<ChildProcess>(program_, arguments, log);
    running_ = run;
    kill_at_ = Clock::time_point::max();
    set(run, Job::State::running);
  } catch (const Error& error) {
    set(run, Job::State::failed, error.what());
  }
  close(log);
}

void JobQueue::take_end(int exit_code) {
  const std::string run = std::exchange(running_, {});
  child_.reset();
  const bool cancelled = jobs_.at(run).state == Job::State::stopping || exit_code == 130;
  if (exit_code == 0)
    set(run, Job::State::done);
  else if (cancelled)
    set(run, Job::State::cancelled);
  else
    set(run, Job::State::failed, reason_of(folder_ / run, exit_code));
}

}  // namespace eg4d
