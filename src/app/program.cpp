#include <cstdio>
#include <new>

#include "app/command_line.h"
#include "app/progress_display.h"
#include "core/error.h"
#include "core/log.h"
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
  commands.push_back(make_export_command());
  commands.push_back(make_evaluate_command());
  commands.push_back(make_models_command());
  commands.push_back(make_info_command());
  commands.push_back(make_options_command());
  return commands;
}

int fail(const char* sentence, ExitCode code) {
  std::fprintf(stderr, "error: %s\n", sentence);
  return code;
}

void run_command(int argc, char** argv, const std::vector<std::unique_ptr<Command>>& commands) {
  ParsedCommand parsed;
  parse_command_line(argc, argv, commands, parsed);
  if (!parsed.command) return;
  set_thread_count(parsed.common.threads);
  const std::unique_ptr<Progress> progress = make_progress_display(parsed.common);
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
  } catch (const std::exception& error) {
    code = fail(error.what(), kFailure);
  }
  // What could not be written to standard output (a full disk, a closed pipe) is a failure too.
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) code = code == kSuccess ? kFailure : code;
  return code;
}

}  // namespace eg4d
