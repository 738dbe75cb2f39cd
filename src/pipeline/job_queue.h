#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/process.h"
#include "io/file_lock.h"

namespace eg4d {

// Pictures and videos that `eg4d generate` makes objects of, one after the other, each in a run folder of its
// own:
//   RUN/job/NAME.png        the picture as it came (or .jpg, .webp)
//   RUN/job/NAME/           or the frames of a video: frame_000.jpg, …
//   RUN/job/thumbnail.png
//   RUN/job/job.json        the job; nothing else is needed to go on after a restart
//   RUN/job/output.log      what the command said, one line of JSON each (--log-json)
struct Job {
  enum class State { waiting, running, stopping, cancelled, failed, done };
  State state = State::waiting;
  std::string preset, picture;  // picture: the file's name, or the folder's of a video
  bool is_video = false;
  std::string message;  // why it failed
  int64_t order = 0;    // those that wait go by it
};
const char* name_of(Job::State state);

bool is_job(const std::filesystem::path& run);
std::filesystem::path job_thumbnail(const std::filesystem::path& run);

// What a running job said last.
struct JobProgress {
  std::string label;  // "2/5 multiview: denoising"
  int64_t step = 0, total = 0;
  double seconds_left = -1;  // of all; below 0: not known
  std::string warning;       // the last one
};
JobProgress progress_of_job(const std::filesystem::path& run);

// All calls come from one thread.
class JobQueue {
 public:
  // What is given to `eg4d generate` besides picture, run folder and preset: "--device", "cpu", …
  using Arguments = std::vector<std::string>;
  // Reads the jobs that lie in the folder. Only one process at a time has a folder's jobs. Throws Error when
  // another one has them, or nothing can be written there.
  JobQueue(std::filesystem::path folder, Arguments arguments, std::filesystem::path program = own_program());
  ~JobQueue();  // what runs is told to stop, and goes on when there is a queue again

  static constexpr size_t kMostWaiting = 8;
  static constexpr int64_t kMostPixels = 40'000'000;
  static constexpr size_t kMostFrames = 25;  // of a video
  static constexpr int64_t kMostFramePixels = 4'000'000;
  static constexpr std::uintmax_t kLeastSpace = std::uintmax_t{1} << 30;  // bytes that stay free

  // A picture, or a video as io/clip.h has it. Returns the name of the new run folder, which is made of
  // `name`. Throws Refusal: no picture, damaged, too large, too many waiting, no space.
  std::string add(const std::string& preset, const std::string& name, std::string_view bytes);
  const Job* find(const std::string& run) const;  // by the run folder's name
  // How many come before a waiting one; 0: it is the next.
  int place_of(const std::string& run) const;
  bool cancel(const std::string& run);  // false when it neither waits nor runs
  bool resume(const std::string& run);  // false when it was neither cancelled nor failed
  // Starts what waits and sees what has ended. Cheap; to be called some times a second.
  void tick();

 private:
  using Clock = std::chrono::steady_clock;
  void read_jobs();
  void write(const std::string& run, const Job& job) const;
  void set(const std::string& run, Job::State state, const std::string& message = {});
  void start(const std::string& run);
  void take_end(int exit_code);
  int64_t next_order() const;

  const std::filesystem::path folder_;
  const Arguments arguments_;
  const std::filesystem::path program_;
  std::optional<FileLock> lock_;
  std::map<std::string, Job> jobs_;  // by the run folder's name
  std::unique_ptr<ChildProcess> child_;
  std::string running_;  // whose child it is
  Clock::time_point kill_at_ = Clock::time_point::max();
};

}  // namespace eg4d
