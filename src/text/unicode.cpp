#include "text/unicode.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <cstdlib>
#include <vector>

#include "core/error.h"

namespace eg4d {
namespace {

constexpr char32_t kCapitalSigma = U'\u03A3', kFinalSigma = U'\u03C2', kDottedCapitalI = U'\u0130';

utf8proc_category_t category_of(char32_t character) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(character));
}

// The property Cased, but for a few letters of category Lo that have it.
bool is_cased(char32_t character) {
  switch (category_of(character)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
      return true;
    default:
      return false;
  }
}

// The property Case_Ignorable: marks, modifiers, formats, and the punctuation that may stand inside a word.
bool is_case_ignorable(char32_t character) {
  switch (category_of(character)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return std::u32string_view(
                 U"'.:\u00B7\u0387\u055F\u05F4\u2018\u2019\u2024\u2027\uFE13\uFE52\uFE55\uFF07\uFF0E\uFF1A")
                 .find(character) != std::u32string_view::npos;
  }
}

// A cased letter before it, none behind it; case-ignorable characters between do not count.
bool ends_word(std::u32string_view text, size_t at) {
  size_t before = at;
  while (before > 0 && is_case_ignorable(text[before - 1])) --before;
  if (before == 0 || !is_cased(text[before - 1])) return false;
  size_t behind = at + 1;
  while (behind < text.size() && is_case_ignorable(text[behind])) ++behind;
  return behind == text.size() || !is_cased(text[behind]);
}

std::u32string mapped(std::u32string_view text, utf8proc_option_t options) {
  std::string utf8 = encode_utf8(text);
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(utf8.data()),
                                               static_cast<utf8proc_ssize_t>(utf8.size()), &result, options);
  if (length < 0) throw Error(fmt::format("normalising a text: {}", utf8proc_errmsg(length)));
  const std::string owned(reinterpret_cast<const char*>(result), static_cast<size_t>(length));
  std::free(result);
  return decode_utf8(owned, "a normalised text");
}

}  // namespace

std::u32string decode_utf8(std::string_view text, const std::string& what) {
  std::u32string characters;
  characters.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    utf8proc_int32_t character = -1;
    const utf8proc_ssize_t length =
        utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at,
                         static_cast<utf8proc_ssize_t>(text.size() - at), &character);
    if (length <= 0)
      throw Error(fmt::format("{} is not UTF-8: byte {} is 0x{:02x}; save it as UTF-8", what, at + 1,
                              static_cast<unsigned char>(text[at])));
    characters.push_back(static_cast<char32_t>(character));
    at += static_cast<size_t>(length);
  }
  return characters;
}

void append_utf8(std::string& text, char32_t character) {
  utf8proc_uint8_t bytes[4];
  const utf8proc_ssize_t length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(character), bytes);
  text.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(length));
}

std::string encode_utf8(std::u32string_view text) {
  std::string utf8;
  for (const char32_t character : text) append_utf8(utf8, character);
  return utf8;
}

std::u32string compose(std::u32string_view text) {
  return mapped(text, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
}

std::u32string compatible_form(char32_t character) {
  return mapped(std::u32string_view(&character, 1),
                static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT));
}

std::u32string lower_case(std::u32string_view text, bool final_sigma) {
  std::u32string lower;
  lower.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const char32_t character = text[i];
    if (character == kDottedCapitalI) {
      lower += U"i\u0307";
    } else if (character == kCapitalSigma && final_sigma && ends_word(text, i)) {
      lower += kFinalSigma;
    } else {
      lower += static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(character)));
    }
  }
  return lower;
}

bool is_letter(char32_t character) {
  switch (category_of(character)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return true;
    default:
      return false;
  }
}

bool is_number(char32_t character) {
  switch (category_of(character)) {
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return true;
    default:
      return false;
  }
}

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

}  // namespace eg4d
