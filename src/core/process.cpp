#include "core/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <thread>

#include "core/error.h"
#include "core/interrupt.h"

extern char** environ;

namespace eg4d {

std::optional<std::filesystem::path> find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::filesystem::path candidate = std::filesystem::path(folder.empty() ? "." : folder) / name;
    if (std::filesystem::is_regular_file(candidate) && access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return {};
}

namespace {

// Reads until the writers have closed the pipe; keeps the end.
std::string read_tail(int pipe) {
  constexpr size_t kept = 4096;
  std::string tail;
  char buffer[4096];
  for (;;) {
    const ssize_t count = read(pipe, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return tail;
    tail.append(buffer, static_cast<size_t>(count));
    if (tail.size() > kept) tail.erase(0, tail.size() - kept);
  }
}

// The program starts with the signals as this one found them.
class SpawnAttributes {
 public:
  explicit SpawnAttributes(bool own_group) {
    posix_spawnattr_init(&attributes_);
    const sigset_t mask = signal_mask_of_children();
    posix_spawnattr_setsigmask(&attributes_, &mask);
    sigset_t standard;
    sigemptyset(&standard);
    sigaddset(&standard, SIGXFSZ);
    posix_spawnattr_setsigdefault(&attributes_, &standard);
    const int group = own_group ? POSIX_SPAWN_SETPGROUP : 0;  // that of the program's own number
    posix_spawnattr_setflags(&attributes_,
                             static_cast<short>(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | group));
  }
  ~SpawnAttributes() { posix_spawnattr_destroy(&attributes_); }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;

  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

// Without standard input, with `output` for what it writes. Returns 0, or errno.
int spawn(const std::filesystem::path& program, const std::vector<std::string>& arguments, int output,
          pid_t& child, bool own_group = false) {
  std::string name = program.string();
  std::vector<std::string> copies = arguments;
  std::vector<char*> argv = {name.data()};
  for (std::string& argument : copies) argv.push_back(argument.data());
  argv.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, output, 1);
  posix_spawn_file_actions_adddup2(&actions, output, 2);
  const SpawnAttributes attributes(own_group);
  const int failure = posix_spawn(&child, name.c_str(), &actions, attributes.get(), argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  return failure;
}

void wait_for(pid_t child, int& status) {
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
}

void tidy_up_later(pid_t child) {
  std::thread([child] {
    int status = 0;
    wait_for(child, status);
  }).detach();
}

int exit_code_of(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

std::filesystem::path own_program() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error);
}

ProcessResult run_process(const std::filesystem::path& program, const std::vector<std::string>& arguments) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw Error(fmt::format("cannot make a pipe: {}", std::strerror(errno)));
  pid_t child = 0;
  const int failure = spawn(program, arguments, ends[1], child);
  close(ends[1]);
  ProcessResult result;
  if (!failure) result.output_tail = read_tail(ends[0]);
  close(ends[0]);
  if (failure) throw Error(fmt::format("cannot start {}: {}", program.string(), std::strerror(failure)));

  int status = 0;
  wait_for(child, status);
  result.exit_code = exit_code_of(status);
  return result;
}

void start_process(const std::filesystem::path& program, const std::vector<std::string>& arguments) {
  const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (nowhere < 0) return;
  pid_t child = 0;
  const int failure = spawn(program, arguments, nowhere, child);
  close(nowhere);
  if (!failure) tidy_up_later(child);
}

ChildProcess::ChildProcess(const std::filesystem::path& program, const std::vector<std::string>& arguments,
                           int output) {
  const int failure = spawn(program, arguments, output, process_, true);
  if (failure) throw Error(fmt::format("cannot start {}: {}", program.string(), std::strerror(failure)));
}

ChildProcess::~ChildProcess() {
  if (!exit_code()) tidy_up_later(process_);
}

std::optional<int> ChildProcess::exit_code() {
  int status = 0;
  if (!exit_code_ && waitpid(process_, &status, WNOHANG) == process_) exit_code_ = exit_code_of(status);
  return exit_code_;
}

void ChildProcess::signal(int number) {
  if (!exit_code()) kill(process_, number);
}

void ChildProcess::end(int patience) {
  signal(SIGINT);
  for (int waited = 0; waited < patience && !exit_code(); waited += 20)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  signal(SIGKILL);
}

}  // namespace eg4d
