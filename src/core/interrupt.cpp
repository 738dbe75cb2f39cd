#include "core/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <string_view>

namespace eg4d {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kWatched[] = {SIGINT, SIGTERM, SIGHUP};
// These are sent to the thread that caused them, at a place of its own choosing.
constexpr int kOwnSignals[] = {SIGSEGV, SIGBUS,  SIGFPE,  SIGILL,  SIGTRAP, SIGABRT,
                               SIGSYS,  SIGPIPE, SIGXFSZ, SIGTTIN, SIGTTOU};
constexpr auto kSameSignal = std::chrono::milliseconds(500);

std::atomic<bool> requested = false;
std::atomic<bool> stopping = false;  // the watch is being taken down
std::optional<sigset_t> mask_at_start;

bool is_ignored(int signal_number) {
  struct sigaction action = {};
  return sigaction(signal_number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

// Returns what was blocked before.
sigset_t block_what_can_be() {
  sigset_t blocked, before;
  sigfillset(&blocked);
  for (int signal_number : kOwnSignals) sigdelset(&blocked, signal_number);
  pthread_sigmask(SIG_BLOCK, &blocked, &before);
  return before;
}

void say(std::string_view text) {
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace

InterruptWatch::InterruptWatch() {
  sigemptyset(&watched_);
  for (int signal_number : kWatched)
    if (!is_ignored(signal_number)) sigaddset(&watched_, signal_number);
  // A write beyond a limit of the file size then fails with a reason instead of ending the program.
  signal(SIGXFSZ, SIG_IGN);

  mask_at_start = block_what_can_be();
  stopping = false;
  thread_ = std::thread([this] { wait_for_signals(); });
}

InterruptWatch::~InterruptWatch() {
  stopping = true;
  pthread_kill(thread_.native_handle(), SIGTERM);
  thread_.join();
  pthread_sigmask(SIG_SETMASK, &*mask_at_start, nullptr);
  mask_at_start.reset();
}

void InterruptWatch::wait_for_signals() const {
  sigset_t waited = watched_;
  sigaddset(&waited, SIGTERM);  // how the destructor ends the wait
  // Here every other signal may act: what stops, dumps or measures the whole process. In one call: a signal
  // that came before this thread is pending, and would act in between.
  sigset_t blocked;
  sigorset(&blocked, &*mask_at_start, &waited);
  pthread_sigmask(SIG_SETMASK, &blocked, nullptr);
  std::optional<Clock::time_point> first;
  for (;;) {
    int signal_number = 0;
    if (sigwait(&waited, &signal_number) != 0) continue;
    if (stopping) return;
    if (!sigismember(&watched_, signal_number)) continue;
    const Clock::time_point now = Clock::now();
    if (first && now - *first >= kSameSignal) _exit(130);
    if (first) continue;
    first = now;
    requested = true;
    say("\nstopping after this step (a second Ctrl-C stops at once)\n");
  }
}

void block_signals() {
  block_what_can_be();
}

bool interrupt_requested() {
  return requested.load(std::memory_order_relaxed);
}

void request_interrupt() {
  requested = true;
}
void clear_interrupt() {
  requested = false;
}

sigset_t signal_mask_of_children() {
  if (mask_at_start) return *mask_at_start;
  sigset_t current;
  pthread_sigmask(SIG_SETMASK, nullptr, &current);
  return current;
}

}  // namespace eg4d
