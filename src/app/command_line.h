#pragma once

#include <memory>
#include <vector>

#include "app/command.h"

namespace eg4d {

struct ParsedCommand {
  Command* command = nullptr;  // null: help or the version was printed and nothing is left to do
  Arguments arguments;
  CommonOptions common;
};

// Declares all commands, parses the command line and fills the chosen command's values.
// Throws UsageError; a sentence that ends with which help to read.
void parse_command_line(int argc, char** argv, const std::vector<std::unique_ptr<Command>>& commands,
                        ParsedCommand& parsed);

}  // namespace eg4d
