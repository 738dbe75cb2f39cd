#include "core/text_layout.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <sstream>

namespace eg4d {
namespace {

struct Character {
  size_t bytes = 1;
  int columns = 1;
};

Character first_character(std::string_view text) {
  utf8proc_int32_t code = 0;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  const auto length = utf8proc_iterate(bytes, static_cast<utf8proc_ssize_t>(text.size()), &code);
  if (length <= 0) return {};
  return {static_cast<size_t>(length), std::max(utf8proc_charwidth(code), 0)};
}

}  // namespace

int display_width(std::string_view text) {
  int columns = 0;
  while (!text.empty()) {
    const Character character = first_character(text);
    columns += character.columns;
    text.remove_prefix(character.bytes);
  }
  return columns;
}

std::string cut_to_width(std::string_view text, int width) {
  size_t kept = 0;
  while (kept < text.size()) {
    const Character character = first_character(text.substr(kept));
    width -= character.columns;
    if (width < 0) break;
    kept += character.bytes;
  }
  return std::string(text.substr(0, kept));
}

std::vector<std::string> wrap_words(std::string_view text, int width) {
  std::vector<std::string> lines(1);
  std::istringstream words{std::string(text)};
  for (std::string word; words >> word;) {
    std::string& line = lines.back();
    if (line.empty()) {
      line = word;
    } else if (display_width(line) + 1 + display_width(word) <= width) {
      line += " " + word;
    } else {
      lines.push_back(word);
    }
  }
  return lines;
}

std::string counted(int64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

}  // namespace eg4d
