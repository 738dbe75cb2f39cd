#pragma once

#include <signal.h>

#include <thread>

namespace eg4d {

// While it lives, SIGINT, SIGTERM and SIGHUP set a flag instead of ending the program, so that long work can
// write a checkpoint and throw Interrupted. A second signal ends the program at once, unless it comes within
// half a second of the first: programs such as timeout signal a child and its group, and mean it once.
// Signals that were ignored when the program started (nohup) stay ignored.
//
// One thread waits for the signals; the thread that makes the watch, and so all threads that it starts later,
// block every signal that can be blocked for good. This is more than tidiness: the kernel writes a signal's
// frame below the stack pointer, and oneDNN's generated matrix products run with the stack pointer in a heap
// buffer (uxlfoundation/oneDNN issue 4845), where such a frame destroys other data. So no handler, a
// profiler's neither, may run in a thread that computes. Make it first in main, before any other thread.
class InterruptWatch {
 public:
  InterruptWatch();
  ~InterruptWatch();  // signals act as before
  InterruptWatch(const InterruptWatch&) = delete;
  InterruptWatch& operator=(const InterruptWatch&) = delete;

 private:
  void wait_for_signals() const;

  sigset_t watched_;
  std::thread thread_;
};

// Long work asks this once per step.
bool interrupt_requested();

// The calling thread blocks every signal that can be blocked for good. Threads of an InterruptWatch's program
// do so from the start; this is for threads that a library's user may start without one.
void block_signals();

// What a signal does, and its undoing; for tests.
void request_interrupt();
void clear_interrupt();

// The signals that a program which this one starts is to block: those that were blocked when this one
// started.
sigset_t signal_mask_of_children();

}  // namespace eg4d
