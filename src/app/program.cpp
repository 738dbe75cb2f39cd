#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <new>
#include <thread>

#include "app/command_line.h"
#include "app/progress_display.h"
#include "core/error.h"
#include "core/log.h"
#include "core/text_layout.h"
#include "core/threads.h"

namespace eg4d {
namespace {

enum ExitCode { kSuccess = 0, kFailure = 1, kUsage = 2, kInterrupted = 130 };

std::vector<std::unique_ptr<Command>> all_commands() {
  std::vector<std::unique_ptr<Command>> commands;
  commands.push_back(make_generate_command());
  commands.push_back(make_animate_command());
  commands.push_back(make_multiview_command());
  commands.push_back(make_reconstruct_command());
  commands.push_back(make_refine_command());
  commands.push_back(make_render_command());
  commands.push_back(make_view_command());
  commands.push_back(make_export_command());
  commands.push_back(make_evaluate_command());
  commands.push_back(make_models_command());
  commands.push_back(make_info_command());
  commands.push_back(make_options_command());
  return commands;
}

int fail(const char* sentence, ExitCode code) {
  std::fprintf(stderr, "%s\n", wrapped_for_stderr(std::string("error: ") + sentence).c_str());
  return code;
}

// More threads than processors only wait for one another: a slip such as 1e3 should be seen.
void warn_of_many_threads(int threads) {
  const auto processors = static_cast<int>(std::thread::hardware_concurrency());
  if (processors > 0 && threads > 4 * processors)
    warn(fmt::format("{} threads on {} are slower than the {} that are taken without --threads", threads,
                     counted(processors, "processor"), processors));
}

// What could not be written to standard output (a full disk, a closed pipe) is a failure too.
int flush_output(int code) {
  if (std::fflush(stdout) == 0 && !std::ferror(stdout)) return code;
  return code == kSuccess ? fail("not all of standard output could be written; is its disk full?", kFailure)
                          : code;
}

// The library's own text has its path and reason in brackets and its function's name in front.
std::string sentence_of(const std::filesystem::filesystem_error& error) {
  return fmt::format("cannot use '{}': {}", error.path1().string(), error.code().message());
}

void run_command(int argc, char** argv, const std::vector<std::unique_ptr<Command>>& commands) {
  ParsedCommand parsed;
  parse_command_line(argc, argv, commands, parsed);
  if (!parsed.command) return;
  set_thread_count(parsed.common.threads);
  const std::unique_ptr<Progress> progress = make_progress_display(parsed.common);
  warn_of_many_threads(parsed.common.threads);
  parsed.command->run(parsed.arguments, parsed.common, *progress);
  progress->end();
}

}  // namespace

int run_program(int argc, char** argv) {
  return run_program(argc, argv, all_commands());
}

int run_program(int argc, char** argv, const std::vector<std::unique_ptr<Command>>& commands) {
  int code = kSuccess;
  try {
    run_command(argc, argv, commands);
  } catch (const UsageError& error) {
    code = fail(error.what(), kUsage);
  } catch (const Interrupted& stop) {
    std::fprintf(stderr, "%s\n", stop.what());
    code = kInterrupted;
  } catch (const Error& error) {
    code = fail(error.what(), kFailure);
  } catch (const std::bad_alloc&) {
    code = fail("there is not enough memory; smaller pictures, fewer Gaussians or fewer frames need less",
                kFailure);
  } catch (const std::filesystem::filesystem_error& error) {
    code = fail(sentence_of(error).c_str(), kFailure);
  } catch (const std::exception& error) {
    code = fail(error.what(), kFailure);
  }
  return flush_output(code);
}

}  // namespace eg4d
