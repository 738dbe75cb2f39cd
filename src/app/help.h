#pragma once

#include <string>
#include <vector>

#include "core/config.h"

namespace eg4d {

// A page of help, laid out for a terminal.
struct HelpPage {
  struct Entry {
    std::string name, text;  // "--frames N", "pictures of the orbit"
  };
  struct Group {
    std::string title;
    std::vector<Entry> entries;
  };
  std::string usage;  // "eg4d render MODEL -o OUTPUT [options]"
  std::string about;
  std::vector<Group> groups;  // empty ones are left out
  // Lines of three kinds: "  eg4d …   comment" (the comment after three spaces or more; both may be missing),
  // six spaces and more of the comment, and plain text.
  std::string examples;
};

// No line is wider than `width` columns, save for words that are.
std::string layout(const HelpPage& page, int width);

// What an option means, what it takes and what it is when not given: "distance of the camera (0 or more;
// default 4)".
std::string help_text(const ConfigOption& option, bool needed);

// The terminal's columns, between 60 and 100; 80 where standard output is none.
int help_width();

}  // namespace eg4d
