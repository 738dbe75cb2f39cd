#pragma once

namespace eg4d {

// From now on SIGINT and SIGTERM set a flag instead of ending the program, so that long work can write a
// checkpoint and throw Interrupted. A second signal ends the program at once.
void install_interrupt_handlers();

// Long work asks this once per step.
bool interrupt_requested();

// What a signal does, and its undoing; for tests.
void request_interrupt();
void clear_interrupt();

}  // namespace eg4d
