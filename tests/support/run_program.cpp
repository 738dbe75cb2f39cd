#include "support/run_program.h"
#include "support/places.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace eg4d::test {
namespace {

// A shell without job control starts its background programs with SIGINT ignored, nohup ignores SIGHUP, and
// who ignores a signal does so in the programs that it starts. Tests send both.
const bool signals_are_taken = [] {
  for (const int number : {SIGHUP, SIGINT, SIGTERM}) ::signal(number, SIG_DFL);
  return true;
}();

}  // namespace

RunningProgram::RunningProgram(const std::vector<std::string>& arguments,
                               const std::vector<std::string>& environment) {
  const std::string output = folder_ / "output", errors = folder_ / "errors";
  std::vector<std::string> words = {eg4d_program()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  process_ = fork();
  if (process_ < 0) throw std::runtime_error("cannot fork");
  if (process_ > 0) return;
  for (const std::string& variable : environment) putenv(strdup(variable.c_str()));
  const bool redirected = std::freopen("/dev/null", "r", stdin) &&
                          std::freopen(output.c_str(), "w", stdout) &&
                          std::freopen(errors.c_str(), "w", stderr);
  if (redirected) execv(argv[0], argv.data());
  _exit(127);
}

RunningProgram::~RunningProgram() {
  if (process_ <= 0) return;
  kill(process_, SIGKILL);
  waitpid(process_, nullptr, 0);
}

void RunningProgram::signal(int number) const {
  kill(process_, number);
}

std::string RunningProgram::errors_so_far() const {
  return read_text(folder_ / "errors");
}

ProgramResult RunningProgram::wait() {
  int status = 0;
  waitpid(process_, &status, 0);
  process_ = 0;
  ProgramResult result;
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.output = read_text(folder_ / "output");
  result.errors = read_text(folder_ / "errors");
  return result;
}

ProgramResult run_program(const std::vector<std::string>& arguments,
                          const std::vector<std::string>& environment) {
  return RunningProgram(arguments, environment).wait();
}

}  // namespace eg4d::test
