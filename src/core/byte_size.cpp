#include "core/byte_size.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "core/error.h"

namespace eg4d {
namespace {

// Of "G", "gb", "GiB"; 0 for another text.
double factor_of(std::string unit) {
  for (char& letter : unit)
    if (letter >= 'a' && letter <= 'z') letter = static_cast<char>(letter - 'a' + 'A');
  for (const auto& [letter, power] : {std::pair("M", 20), {"G", 30}, {"T", 40}})
    for (const char* rest : {"", "B", "IB"})
      if (unit == std::string(letter) + rest) return std::ldexp(1.0, power);
  return 0;
}

}  // namespace

size_t parse_byte_size(const std::string& text, const std::string& what) {
  const char* const end = text.data() + text.size();
  double number = 0;
  const auto [unit, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  const double bytes = error == std::errc() ? number * factor_of(std::string(unit, end)) : 0;
  if (!(bytes >= 1) || bytes > std::ldexp(1.0, 60))
    throw UsageError(fmt::format("{} takes a size such as 12G or 8192M, not '{}'", what, text));
  return static_cast<size_t>(bytes);
}

std::string byte_size_text(size_t bytes) {
  const auto number = static_cast<double>(bytes);
  if (bytes >> 30) return fmt::format("{:.2f} GiB", std::ldexp(number, -30));
  if (bytes >> 20) return fmt::format("{:.0f} MiB", std::ldexp(number, -20));
  return fmt::format("{} bytes", bytes);
}

}  // namespace eg4d
