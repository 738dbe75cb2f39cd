#pragma once

#include <memory>
#include <string>
#include <vector>

#include "app/arguments.h"
#include "backend/backend.h"
#include "core/progress.h"

namespace eg4d {

// What every command has: where it computes and how it talks.
struct CommonOptions {
  std::string device = "auto";
  FieldPrecision precision = FieldPrecision::automatic;
  std::string memory = {};  // cap on device memory ("12G"); empty: none
  int threads = 0;
  bool log_json = false;
  bool quiet = false;
  std::string trace = {};  // file for what the device did
};

// One command of the program: `eg4d NAME …`. Thin: it checks what it was given and calls one function of the
// pipeline.
class Command {
 public:
  virtual ~Command() = default;
  virtual const char* name() const = 0;
  virtual const char* summary() const = 0;   // one line for `eg4d --help`
  virtual const char* examples() const = 0;  // lines that can be typed, for the end of the command's help
  virtual bool computes() const { return true; }    // takes --device and --threads
  virtual bool has_field() const { return false; }  // evaluates a deformation field: takes --precision
  virtual void declare(Arguments& arguments) = 0;
  // After the arguments were taken. Throws Error; UsageError when arguments do not fit together.
  virtual void run(const Arguments& arguments, const CommonOptions& common, Progress& progress) = 0;
};

std::unique_ptr<Command> make_generate_command();
std::unique_ptr<Command> make_animate_command();
std::unique_ptr<Command> make_multiview_command();
std::unique_ptr<Command> make_reconstruct_command();
std::unique_ptr<Command> make_refine_command();
std::unique_ptr<Command> make_render_command();
std::unique_ptr<Command> make_view_command();
std::unique_ptr<Command> make_export_command();
std::unique_ptr<Command> make_evaluate_command();
std::unique_ptr<Command> make_models_command();
std::unique_ptr<Command> make_info_command();
std::unique_ptr<Command> make_options_command();

// The whole program: parses, runs, tells errors. Returns the exit code (0; 1 failure; 2 usage; 130
// interrupted).
int run_program(int argc, char** argv);
// The same with other commands.
int run_program(int argc, char** argv, const std::vector<std::unique_ptr<Command>>& commands);

}  // namespace eg4d
