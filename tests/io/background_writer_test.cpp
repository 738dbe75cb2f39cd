#include "io/background_writer.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "core/error.h"
#include "core/log.h"
#include "support/expect_error.h"

namespace eg4d {
namespace {

using namespace std::chrono_literals;

// Opens once.
class Gate {
 public:
  void open() { open_ = true; }
  void wait() const {
    for (int i = 0; i < 5000 && !open_; ++i) std::this_thread::sleep_for(1ms);
  }
  bool is_open() const { return open_; }

 private:
  std::atomic<bool> open_ = false;
};

TEST(BackgroundWriter, DoesJobsOneAfterTheOtherBesideTheCaller) {
  std::vector<int> done;
  Gate gate;
  BackgroundWriter writer({.jobs = 100});
  writer.push(0, [&] { gate.wait(); });
  for (int i = 0; i < 50; ++i) writer.push(0, [&, i] { done.push_back(i); });
  gate.open();  // the caller came here: it did not wait for the first
  writer.finish();
  ASSERT_EQ(done.size(), 50u);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(done[static_cast<size_t>(i)], i);
  writer.finish();  // nothing to do
}

TEST(BackgroundWriter, PushWaitsForRoom) {
  struct Case {
    BackgroundWriter::Limits limits;
    size_t bytes;
  };
  // The second job must wait: one at a time; 60 + 60 bytes of 100; more than there can be, beside another.
  for (const Case& c :
       {Case{{.jobs = 1}, 0}, Case{{.jobs = 9, .bytes = 100}, 60}, Case{{.jobs = 9, .bytes = 50}, 60}}) {
    Gate gate, pushed;
    BackgroundWriter writer(c.limits);
    writer.push(c.bytes, [&] { gate.wait(); });
    std::thread other([&] {
      writer.push(c.bytes, [] {});
      pushed.open();
    });
    std::this_thread::sleep_for(30ms);
    EXPECT_FALSE(pushed.is_open());
    gate.open();
    other.join();
    writer.finish();
  }
  Gate gate;
  BackgroundWriter roomy({.jobs = 2, .bytes = 120});
  roomy.push(60, [&] { gate.wait(); });
  roomy.push(60, [] {});  // does not wait
  gate.open();
  roomy.finish();
}

TEST(BackgroundWriter, NeverHoldsMoreThanItMay) {
  std::atomic<int> jobs = 0, most = 0;
  {
    BackgroundWriter writer({.threads = 3, .jobs = 5});
    for (int i = 0; i < 200; ++i) {
      auto held = std::shared_ptr<int>(new int(++jobs), [&](const int* p) {
        --jobs;
        delete p;
      });
      most = std::max(most.load(), jobs.load());
      writer.push(1, [held = std::move(held)] { std::this_thread::sleep_for(100us); });
    }
  }
  EXPECT_EQ(jobs, 0);
  EXPECT_LE(most, 5 + 1);  // and the one that is handed over
}

TEST(BackgroundWriter, ThreadsWorkSideBySide) {
  BackgroundWriter writer({.threads = 2, .jobs = 2});
  Gate first, second;
  std::atomic<int> met = 0;
  writer.push(0, [&] {
    first.open();
    second.wait();
    met += second.is_open();
  });
  writer.push(0, [&] {
    second.open();
    first.wait();
    met += first.is_open();
  });
  writer.finish();
  EXPECT_EQ(met, 2);
}

TEST(BackgroundWriter, TheFirstFailureEndsTheWritingAndIsThrownFromThenOn) {
  Gate gate;
  std::atomic<int> after = 0;
  BackgroundWriter writer({.jobs = 10});
  writer.push(0, [&] {
    gate.wait();
    throw Error("cannot write 'a': No space left on device");
  });
  for (int i = 0; i < 3; ++i) writer.push(0, [&] { ++after; });
  gate.open();
  EXPECT_ERROR(writer.finish(), "No space left");
  EXPECT_ERROR(writer.push(0, [&] { ++after; }), "No space left");
  EXPECT_ERROR(writer.finish(), "No space left");
  EXPECT_EQ(after, 0) << "what relies on the first file is not written";
}

TEST(BackgroundWriter, AFailureWakesWhoWaitsForRoom) {
  BackgroundWriter writer({.jobs = 1});
  writer.push(0, [] {
    std::this_thread::sleep_for(20ms);
    throw Error("cannot write 'a'");
  });
  EXPECT_ERROR(writer.push(0, [] {}), "cannot write 'a'");
}

TEST(BackgroundWriter, WhatItWasGivenIsDoneWhenItGoesAndNoFailureIsLost) {
  std::string warning;
  set_warning_sink([&](const std::string& sentence) { warning = sentence; });
  int done = 0;
  {
    BackgroundWriter writer({.jobs = 10});
    for (int i = 0; i < 5; ++i)
      writer.push(0, [&] {
        std::this_thread::sleep_for(2ms);
        ++done;
      });
  }
  EXPECT_EQ(done, 5);
  EXPECT_EQ(warning, "");
  {
    BackgroundWriter({}).push(0, [] { throw Error("cannot write 'b'"); });
  }
  EXPECT_EQ(warning, "cannot write 'b'");
  warning.clear();
  {
    BackgroundWriter writer({});
    writer.push(0, [] { throw Error("cannot write 'c'"); });
    EXPECT_ERROR(writer.finish(), "cannot write 'c'");
  }
  EXPECT_EQ(warning, "") << "it was told already";
  set_warning_sink({});
}

TEST(BackgroundWriter, AJobIsReleasedWhenItIsDone) {
  BackgroundWriter writer({});
  auto content = std::make_shared<int>(1);
  const std::weak_ptr<int> watched = content;
  writer.push(4, [content] {});
  content.reset();
  writer.finish();
  EXPECT_TRUE(watched.expired());
}

TEST(BackgroundWriter, ItsThreadsMeetNoSignal) {
  int unblocked = 0;
  BackgroundWriter writer({});
  writer.push(0, [&] {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    for (int signal_number : {SIGINT, SIGTERM, SIGHUP, SIGPROF, SIGALRM, SIGUSR1, SIGCHLD, SIGRTMIN})
      unblocked += !sigismember(&mask, signal_number);
  });
  writer.finish();
  EXPECT_EQ(unblocked, 0);
}

}  // namespace
}  // namespace eg4d
