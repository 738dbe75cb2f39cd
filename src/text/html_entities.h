#pragma once

#include <string>
#include <string_view>

namespace eg4d {

// Character references become characters as HTML 5 says ("&lt;" → "<", "&#233;" → "é", "&copy2" → "©2"). Of
// HTML 5's 2231 names only those of HTML 4 are known; others stay.
std::u32string unescape_html(std::u32string_view text);

// The character of a byte in the code page Windows-1252; the five bytes that it leaves open are controls.
char32_t windows_1252(unsigned char byte);

}  // namespace eg4d
