#pragma once

#include <string>
#include <vector>

namespace eg4d::test {

struct ProgramResult {
  int exit_code = -1;  // 128 + signal when a signal ended it
  std::string output;  // standard output
  std::string errors;  // standard error
};

// Runs the real program with these arguments (and "NAME=value" added to the environment) and waits for its
// end.
ProgramResult run_program(const std::vector<std::string>& arguments,
                          const std::vector<std::string>& environment = {});

}  // namespace eg4d::test
