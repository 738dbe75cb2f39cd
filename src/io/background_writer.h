#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace eg4d {

// Writes files beside the work that they come from. Jobs are begun in the order in which they are given; with
// one thread each is done before the next begins, so that a file may rely on an earlier one.
//
// The first job that throws ends the writing: what waits is dropped, and every push() and finish() from then
// on throws what it threw.
class BackgroundWriter {
 public:
  struct Limits {
    int threads = 1;
    int jobs = 1;               // waiting or being done
    size_t bytes = ~size_t{0};  // that they hold; a larger job is taken when there is no other
  };
  // Its threads block all signals that can be blocked (core/interrupt.h).
  explicit BackgroundWriter(const Limits& limits);
  // Waits until everything is written. A failure that was not thrown yet becomes a warning.
  ~BackgroundWriter();
  BackgroundWriter(const BackgroundWriter&) = delete;
  BackgroundWriter& operator=(const BackgroundWriter&) = delete;

  // Waits for room. The job is released as soon as it is done.
  void push(size_t bytes, std::function<void()> job);
  // Waits until everything is written.
  void finish();

 private:
  struct Job {
    size_t bytes;
    std::function<void()> work;
  };
  bool has_room(size_t bytes) const;
  void throw_failure();
  void work();
  void stop();

  const Limits limits_;
  std::mutex mutex_;
  std::condition_variable given_, done_;
  std::deque<Job> waiting_;
  int jobs_ = 0;      // waiting or being done
  size_t bytes_ = 0;  // of these
  std::exception_ptr failure_;
  bool failure_told_ = false, stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace eg4d
