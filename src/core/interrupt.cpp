#include "core/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

namespace eg4d {
namespace {

std::atomic<bool> requested = false;
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may only touch lock-free atomics");

void on_signal(int) {
  if (requested.exchange(true)) _exit(130);
  constexpr char kMessage[] = "\nstopping after this step (a second Ctrl-C stops at once)\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kMessage, sizeof kMessage - 1);
}

}  // namespace

void install_interrupt_handlers() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
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

}  // namespace eg4d
