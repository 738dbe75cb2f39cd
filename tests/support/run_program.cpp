#include "support/run_program.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "support/temporary_folder.h"

namespace eg4d::test {

ProgramResult run_program(const std::vector<std::string>& arguments,
                          const std::vector<std::string>& environment) {
  const TemporaryFolder folder;
  const std::string output = folder / "output", errors = folder / "errors";
  std::vector<std::string> words = {EG4D_PROGRAM};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("cannot fork");
  if (child == 0) {
    for (const std::string& variable : environment) putenv(strdup(variable.c_str()));
    const bool redirected = std::freopen("/dev/null", "r", stdin) &&
                            std::freopen(output.c_str(), "w", stdout) &&
                            std::freopen(errors.c_str(), "w", stderr);
    if (redirected) execv(EG4D_PROGRAM, argv.data());
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ProgramResult result;
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.output = read_text(output);
  result.errors = read_text(errors);
  return result;
}

}  // namespace eg4d::test
