#include "io/background_writer.h"

#include <algorithm>
#include <utility>

#include "core/interrupt.h"
#include "core/log.h"

namespace eg4d {

BackgroundWriter::BackgroundWriter(const Limits& limits) : limits_(limits) {
  try {
    for (int i = 0; i < std::max(limits.threads, 1); ++i) threads_.emplace_back([this] { work(); });
  } catch (...) {
    stop();
    throw;
  }
}

BackgroundWriter::~BackgroundWriter() {
  stop();
  if (!failure_ || failure_told_) return;
  try {
    std::rethrow_exception(failure_);
  } catch (const std::exception& error) {
    warn(error.what());
  }
}

void BackgroundWriter::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  given_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

bool BackgroundWriter::has_room(size_t bytes) const {
  if (jobs_ == 0) return true;
  return jobs_ < limits_.jobs && bytes_ <= limits_.bytes && bytes <= limits_.bytes - bytes_;
}

void BackgroundWriter::throw_failure() {
  if (!failure_) return;
  failure_told_ = true;
  std::rethrow_exception(failure_);
}

void BackgroundWriter::push(size_t bytes, std::function<void()> job) {
  {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return failure_ || has_room(bytes); });
    throw_failure();
    waiting_.push_back({bytes, std::move(job)});
    ++jobs_;
    bytes_ += bytes;
  }
  given_.notify_one();
}

void BackgroundWriter::finish() {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return jobs_ == 0; });
  throw_failure();
}

void BackgroundWriter::work() {
  block_signals();
  std::unique_lock lock(mutex_);
  for (;;) {
    given_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    Job job = std::move(waiting_.front());
    waiting_.pop_front();
    const bool dropped = static_cast<bool>(failure_);
    lock.unlock();
    std::exception_ptr failure;
    try {
      if (!dropped) job.work();
    } catch (...) {
      failure = std::current_exception();
    }
    job.work = {};
    lock.lock();
    if (failure && !failure_) failure_ = failure;
    --jobs_;
    bytes_ -= job.bytes;
    done_.notify_all();
  }
}

}  // namespace eg4d
