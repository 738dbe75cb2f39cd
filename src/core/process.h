#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace eg4d {

// The program of that name on $PATH.
std::optional<std::filesystem::path> find_program(const std::string& name);

struct ProcessResult {
  int exit_code = 0;        // 128 + signal when a signal ended it
  std::string output_tail;  // the last 4 KiB of its standard output and error
};

// Runs a program to its end, without a shell and without standard input. Throws Error when it cannot be
// started.
ProcessResult run_process(const std::filesystem::path& program, const std::vector<std::string>& arguments);

// Starts a program and lets it go: its output is not read and its end not waited for, except that its process
// is tidied up. Without a word when it cannot be started.
void start_process(const std::filesystem::path& program, const std::vector<std::string>& arguments);

}  // namespace eg4d
