#include "text/clip_prompt.h"

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "text/html_entities.h"
#include "text/unicode.h"

namespace eg4d {
namespace {

bool in_range(char32_t c, char32_t first, char32_t last) {
  return c >= first && c <= last;
}

std::optional<unsigned char> windows_1252_byte(char32_t character) {
  if (character <= 0xFF) return static_cast<unsigned char>(character);
  for (unsigned byte = 0x80; byte <= 0x9F; ++byte)
    if (windows_1252(static_cast<unsigned char>(byte)) == character) return static_cast<unsigned char>(byte);
  return {};
}

// UTF-8 that was read as Windows-1252 shows itself: its bytes form valid UTF-8, which other texts hardly do.
std::u32string undo_misreading(const std::u32string& text) {
  std::string bytes;
  for (const char32_t character : text) {
    const auto byte = windows_1252_byte(character);
    if (!byte) return text;
    bytes += static_cast<char>(*byte);
  }
  try {
    return decode_utf8(bytes, "the text");
  } catch (const Error&) {
    return text;
  }
}

bool is_ligature(char32_t c) {
  return in_range(c, 0x132, 0x133) || c == 0x149 || in_range(c, 0x1C4, 0x1CC) || in_range(c, 0x1F1, 0x1F3) ||
         in_range(c, 0xFB00, 0xFB06);
}

bool is_unwanted_control(char32_t c) {
  return in_range(c, 0, 0x08) || c == 0x0B || in_range(c, 0x0E, 0x1F) || c == 0x7F ||
         in_range(c, 0x206A, 0x206F) || c == 0xFEFF || in_range(c, 0xFFF9, 0xFFFC);
}

void append_repaired(std::u32string& text, char32_t c) {
  constexpr char32_t kLongSAndT = 0xFB05, kWideSpace = 0x3000;
  if (in_range(c, 0x80, 0x9F)) c = windows_1252(static_cast<unsigned char>(c));
  if (c == kLongSAndT) {
    text += U"\u017Ft";
  } else if (is_ligature(c) || in_range(c, 0xFF01, 0xFFEF)) {
    text += compatible_form(c);
  } else if (c == kWideSpace) {
    text += U' ';
  } else if (c == 0x2BC || in_range(c, 0x2018, 0x201B)) {
    text += U'\'';
  } else if (in_range(c, 0x201C, 0x201F)) {
    text += U'"';
  } else if (c == U'\r' || c == 0x85 || c == 0x2028 || c == 0x2029) {
    text += U'\n';
  } else if (!is_unwanted_control(c)) {
    text += c;
  }
}

}  // namespace

std::u32string repair_text(std::u32string_view text) {
  const bool may_hold_markup = text.find(U'<') != std::u32string_view::npos;
  std::u32string now(text), before;
  // One repair can bring another to light. Each round makes the text simpler, so that this ends.
  do {
    before = now;
    if (!may_hold_markup) now = unescape_html(now);
    now = undo_misreading(now);
    std::u32string repaired;
    for (const char32_t c : now) append_repaired(repaired, c);
    now = compose(repaired);
  } while (now != before);
  return now;
}

std::u32string clean_prompt(std::u32string_view prompt, ClipFlavour flavour) {
  if (flavour == ClipFlavour::hugging_face) return lower_case(compose(prompt), false);
  return lower_case(unescape_html(unescape_html(repair_text(prompt))), true);
}

}  // namespace eg4d
