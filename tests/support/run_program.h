#pragma once

#include <string>
#include <vector>

#include "support/temporary_folder.h"

namespace eg4d::test {

struct ProgramResult {
  int exit_code = -1;  // 128 + signal when a signal ended it
  std::string output;  // standard output
  std::string errors;  // standard error
};

// The real program while it runs, with "NAME=value" added to its environment.
class RunningProgram {
 public:
  RunningProgram(const std::vector<std::string>& arguments, const std::vector<std::string>& environment = {});
  ~RunningProgram();  // kills it when nobody waited for its end
  RunningProgram(const RunningProgram&) = delete;
  RunningProgram& operator=(const RunningProgram&) = delete;

  void signal(int number) const;
  std::string errors_so_far() const;
  ProgramResult wait();

 private:
  TemporaryFolder folder_;
  int process_ = 0;
};

// Runs the real program with these arguments (and "NAME=value" added to the environment) and waits for its
// end.
ProgramResult run_program(const std::vector<std::string>& arguments,
                          const std::vector<std::string>& environment = {});

}  // namespace eg4d::test
