#include "core/interrupt.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "core/process.h"
#include "core/threads.h"

namespace eg4d {
namespace {

// Each test runs in a process of its own, that has no other threads when the watch is made.
class InterruptWatchTest : public testing::Test {
 protected:
  InterruptWatchTest() { testing::FLAGS_gtest_death_test_style = "threadsafe"; }
};

void pause_for(int milliseconds) {
  usleep(static_cast<useconds_t>(milliseconds) * 1000);
}

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "not so: %s\n", what);
  std::_Exit(1);
}

bool requested_soon() {
  for (int i = 0; i < 500 && !interrupt_requested(); ++i) pause_for(10);
  return interrupt_requested();
}

[[noreturn]] void threads_that_compute_meet_no_signal() {
  const InterruptWatch watch;
  set_thread_count(3);
  std::atomic<int> unblocked = 0;
  parallel_for(64, 1, [&](int64_t, int64_t) {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    for (int signal_number : {SIGINT, SIGTERM, SIGHUP, SIGPROF, SIGVTALRM, SIGALRM, SIGUSR1, SIGUSR2, SIGCHLD,
                              SIGWINCH, SIGCONT, SIGTSTP, SIGIO, SIGRTMIN, SIGRTMAX})
      unblocked += !sigismember(&mask, signal_number);
  });
  require(unblocked == 0, "every signal is blocked");
  std::_Exit(0);
}

TEST_F(InterruptWatchTest, ThreadsThatComputeMeetNoSignal) {
  EXPECT_EXIT(threads_that_compute_meet_no_signal(), testing::ExitedWithCode(0), "");
}

std::atomic<int> handled = 0;
std::atomic<bool> handled_where_it_computes = false;
std::atomic<pthread_t> computing_thread;

[[noreturn]] void a_profilers_handler_runs_elsewhere() {
  const InterruptWatch watch;
  computing_thread = pthread_self();
  struct sigaction action = {};
  action.sa_handler = [](int) {
    ++handled;
    if (pthread_equal(pthread_self(), computing_thread)) handled_where_it_computes = true;
  };
  sigaction(SIGUSR1, &action, nullptr);
  for (int i = 0; i < 500 && handled < 5; ++i) {
    kill(getpid(), SIGUSR1);
    pause_for(5);
  }
  require(handled >= 5, "the handler is called");
  require(!handled_where_it_computes, "the handler stays out of threads that compute");
  std::_Exit(0);
}

TEST_F(InterruptWatchTest, AnotherHandlerRunsOutsideThreadsThatCompute) {
  EXPECT_EXIT(a_profilers_handler_runs_elsewhere(), testing::ExitedWithCode(0), "");
}

[[noreturn]] void two_at_once_are_one(int signal_number) {
  const InterruptWatch watch;
  require(!interrupt_requested(), "nothing is requested at first");
  kill(getpid(), signal_number);
  require(requested_soon(), "the first signal asks to stop");
  kill(getpid(), signal_number);
  pause_for(700);
  kill(getpid(), signal_number);
  pause_for(5000);
  std::_Exit(1);
}

TEST_F(InterruptWatchTest, ASecondSignalEndsTheProgramUnlessItComesWithTheFirst) {
  for (int signal_number : {SIGINT, SIGTERM, SIGHUP}) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EXIT(two_at_once_are_one(signal_number), testing::ExitedWithCode(130), "stopping after this step");
    EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(700))
        << "the second signal ended it";
  }
}

[[noreturn]] void ignored_signals_stay_ignored() {
  signal(SIGHUP, SIG_IGN);
  const InterruptWatch watch;
  kill(getpid(), SIGHUP);
  pause_for(200);
  require(!interrupt_requested(), "SIGHUP is ignored, as nohup wants it");
  kill(getpid(), SIGTERM);
  require(requested_soon(), "SIGTERM is not");
  std::_Exit(0);
}

TEST_F(InterruptWatchTest, SignalsThatWereIgnoredStayIgnored) {
  EXPECT_EXIT(ignored_signals_stay_ignored(), testing::ExitedWithCode(0), "");
}

// The line of /proc/self/status that begins so, of a program started now.
std::string status_of_child(const std::string& line) {
  return run_process("/bin/sh", {"-c", "grep " + line + " /proc/self/status"}).output_tail;
}

[[noreturn]] void children_start_as_we_did() {
  const std::string blocked = status_of_child("SigBlk"), ignored = status_of_child("SigIgn");
  require(!blocked.empty() && !ignored.empty(), "the child answers");
  const InterruptWatch watch;
  require(status_of_child("SigBlk") == blocked, "the child blocks what was blocked before");
  require(status_of_child("SigIgn") == ignored, "the child ignores what was ignored before");
  std::_Exit(0);
}

TEST_F(InterruptWatchTest, ProgramsThatItStartsTakeSignalsAsUsual) {
  EXPECT_EXIT(children_start_as_we_did(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace eg4d
