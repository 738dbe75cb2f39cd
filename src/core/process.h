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

// The file of this very program.
std::filesystem::path own_program();

// Runs a program to its end, without a shell and without standard input. Throws Error when it cannot be
// started.
ProcessResult run_process(const std::filesystem::path& program, const std::vector<std::string>& arguments);

// A program that runs beside this one, in a process group of its own: a terminal's Ctrl-C does not reach it.
class ChildProcess {
 public:
  // What it writes goes to the file descriptor `output`. Throws Error when it cannot be started.
  ChildProcess(const std::filesystem::path& program, const std::vector<std::string>& arguments, int output);
  ~ChildProcess();  // does not end it
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // As of ProcessResult; none while it runs.
  std::optional<int> exit_code();
  void signal(int number);  // while it runs
  // SIGINT, and SIGKILL when that has not ended it in so many milliseconds.
  void end(int patience);

 private:
  int process_ = 0;
  std::optional<int> exit_code_;
};

// Starts a program and lets it go: its output is not read and its end not waited for, except that its process
// is tidied up. Without a word when it cannot be started.
void start_process(const std::filesystem::path& program, const std::vector<std::string>& arguments);

}  // namespace eg4d
