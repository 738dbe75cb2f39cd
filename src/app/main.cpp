#include <unistd.h>

#include <cstdlib>

#include "app/command.h"
#include "core/interrupt.h"

namespace {

// OpenMP's threads spin while they wait. Where other programs want the cores too, every barrier then waits
// for whole time slices: generate with the mini models takes 20 s on two idle cores and 74 s beside one busy
// program; with a short spin 25 s and 40 s. The library reads its environment before main, so the program
// starts itself anew, unless the user has chosen, or wants only a text (--version).
void shorten_spinning(int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-' || std::getenv("OMP_WAIT_POLICY") || std::getenv("GOMP_SPINCOUNT"))
    return;
  setenv("GOMP_SPINCOUNT", "2000", 1);
  execv("/proc/self/exe", argv);  // returns where there is no /proc: then as it was
}

}  // namespace

int main(int argc, char** argv) {
  shorten_spinning(argc, argv);
  const eg4d::InterruptWatch watch;
  return eg4d::run_program(argc, argv);
}
