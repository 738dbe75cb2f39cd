#pragma once

#include <string>
#include <string_view>

namespace eg4d {

// Text as code points. Properties of characters are those of the utf8proc library (Unicode 15).

// Throws Error that tells the position of the first byte that is not UTF-8 (overlong forms, surrogates and
// numbers above U+10FFFF are not), and calls the text `what`.
std::u32string decode_utf8(std::string_view text, const std::string& what);
void append_utf8(std::string& text, char32_t character);
std::string encode_utf8(std::u32string_view text);

// Normalisation form C: composed characters.
std::u32string compose(std::u32string_view text);
// What a character is a variant of ("ﬁ" → "fi", "Ａ" → "A"; form KC); itself when it is none.
std::u32string compatible_form(char32_t character);

// Character by character, "İ" becoming two; with `final_sigma` a capital sigma at the end of a word becomes ς
// (Unicode 3.13; what Python's lower() does).
std::u32string lower_case(std::u32string_view text, bool final_sigma);

bool is_letter(char32_t character);       // general category L*
bool is_number(char32_t character);       // N*
bool is_white_space(char32_t character);  // the property White_Space

}  // namespace eg4d
