#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// Text for a terminal. Bytes that are no UTF-8 (file names may hold any) count as one column each.
namespace eg4d {

// Columns that the text takes: "…" takes one, "漢" two, a combining accent none.
int display_width(std::string_view text);

// As much from the beginning as fits into `width` columns; a character is never torn apart.
std::string cut_to_width(std::string_view text, int width);

// The text's words in lines of at most `width` columns; a longer word has a line of its own. At least one
// line.
std::vector<std::string> wrap_words(std::string_view text, int width);

// "1 frame", "2 frames".
std::string counted(int64_t count, std::string_view noun);

}  // namespace eg4d
