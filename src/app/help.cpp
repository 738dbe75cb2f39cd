#include "app/help.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>

#include "core/text_layout.h"

namespace eg4d {
namespace {

constexpr int kWidestName = 26, kWidestExample = 44;
constexpr const char* kMargin = "  ";

std::string spaces(int count) {
  return std::string(static_cast<size_t>(std::max(count, 0)), ' ');
}

// Names in one column, texts wrapped in the next; a name that is wider has its text on the line below.
std::string columns(const std::vector<HelpPage::Entry>& entries, int name_width, int width) {
  std::string text;
  for (const HelpPage::Entry& entry : entries) {
    const int name = display_width(entry.name);
    text += kMargin + entry.name;
    if (entry.text.empty()) {
      text += "\n";
      continue;
    }
    text += name > name_width ? "\n" + spaces(name_width + 4) : spaces(name_width + 2 - name);
    bool first = true;
    for (const std::string& line : wrap_words(entry.text, width - name_width - 4)) {
      text += (first ? "" : spaces(name_width + 4)) + line + "\n";
      first = false;
    }
  }
  return text;
}

int widest_name(const std::vector<HelpPage::Entry>& entries, int limit) {
  int widest = 0;
  for (const HelpPage::Entry& entry : entries)
    if (const int width = display_width(entry.name); width <= limit) widest = std::max(widest, width);
  return widest;
}

std::string paragraph(const std::string& text, int width) {
  std::string lines;
  for (const std::string& line : wrap_words(text, width)) lines += line + "\n";
  return lines;
}

// Commands with comments that would not stand beside them have them below, indented.
std::string example_lines(const std::vector<HelpPage::Entry>& entries, int width) {
  const int name_width = widest_name(entries, kWidestExample);
  std::string text;
  for (const HelpPage::Entry& entry : entries) {
    if (display_width(entry.name) <= name_width) {
      text += columns({entry}, name_width, width);
      continue;
    }
    text += kMargin + entry.name + "\n";
    if (entry.text.empty()) continue;
    for (const std::string& line : wrap_words(entry.text, width - 6)) text += spaces(6) + line + "\n";
  }
  return text;
}

HelpPage::Entry example_of(const std::string& line) {
  const size_t gap = line.find("   ", 2);
  if (gap == std::string::npos) return {line.substr(2), ""};
  return {line.substr(2, gap - 2), line.substr(line.find_first_not_of(' ', gap))};
}

std::string example_section(const std::string& examples, int width) {
  std::vector<HelpPage::Entry> entries;
  std::string plain, head;
  std::istringstream lines(examples);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("      ") && !entries.empty()) {
      std::string& comment = entries.back().text;
      comment += (comment.empty() ? "" : " ") + line.substr(6);
    } else if (line.starts_with(kMargin)) {
      entries.push_back(example_of(line));
    } else {
      (entries.empty() ? head : plain) += paragraph(line, width);
    }
  }
  return head + example_lines(entries, width) + (plain.empty() ? "" : "\n" + plain);
}

// As it is typed.
std::string typed(const ConfigValue& value) {
  if (const auto* list = std::get_if<std::vector<ConfigValue>>(&value)) {
    std::string text;
    for (const ConfigValue& item : *list) text += (text.empty() ? "" : ",") + typed(item);
    return text;
  }
  if (const auto* number = std::get_if<double>(&value)) return fmt::format("{}", *number);
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "on" : "";
  return to_text(value);
}

}  // namespace

std::string layout(const HelpPage& page, int width) {
  std::string text = paragraph(page.about, width) + "\nUsage: " + page.usage + "\n";
  int name_width = 0;
  for (const HelpPage::Group& group : page.groups)
    name_width = std::max(name_width, widest_name(group.entries, kWidestName));
  for (const HelpPage::Group& group : page.groups)
    if (!group.entries.empty())
      text += "\n" + group.title + ":\n" + columns(group.entries, name_width, width);
  if (!page.examples.empty()) text += "\n" + example_section(page.examples, width);
  return text;
}

std::string help_text(const ConfigOption& option, bool needed) {
  // Limits that nobody meets only make the line longer.
  constexpr size_t kLongestRange = 12;
  std::string rest = needed ? "needed" : "";
  const auto add = [&rest](const std::string& part) { rest += (rest.empty() ? "" : "; ") + part; };
  if (!option.allowed.empty() && (option.type == "one of" || option.allowed.size() <= kLongestRange))
    add(option.allowed);
  if (const std::string shown = typed(option.default_value); !shown.empty()) add("default " + shown);
  return rest.empty() ? option.help : fmt::format("{} ({})", option.help, rest);
}

int help_width() {
  winsize size = {};
  const bool terminal = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return terminal ? std::clamp<int>(size.ws_col, 60, 100) : 80;
}

}  // namespace eg4d
