#include "io/usd_text.h"

#include <fmt/format.h>

#include "core/version.h"

namespace eg4d::usd {

std::string array_text(std::span<const float> values, size_t width) {
  fmt::memory_buffer text;
  if (values.empty()) text.push_back('[');
  for (size_t i = 0; i < values.size(); ++i) {
    const bool first = i % width == 0, last = i % width == width - 1;
    fmt::format_to(std::back_inserter(text), "{}{}{}{}", i == 0 ? "[" : ", ", first && width > 1 ? "(" : "",
                   values[i], last && width > 1 ? ")" : "");
  }
  text.push_back(']');
  return {text.data(), text.size()};
}

std::string header_text(double first_code, double last_code, double codes_per_second, char up) {
  return fmt::format(
      "#usda 1.0\n(\n    defaultPrim = \"Object\"\n    doc = \"written by eg4d {}\"\n"
      "    startTimeCode = {}\n    endTimeCode = {}\n    timeCodesPerSecond = {}\n"
      "    framesPerSecond = {}\n    metersPerUnit = 1\n    upAxis = \"{}\"\n)\n\n",
      kVersion, first_code, last_code, codes_per_second, codes_per_second, up);
}

void write_attribute(AtomicFile& file, const std::string& declaration, size_t width,
                     std::span<const double> codes, const std::function<std::vector<float>(size_t)>& values) {
  const std::vector<float> first = values(0);
  const auto sample = [&](size_t i, const std::vector<float>& of) {
    file.write(fmt::format("        {}: {},\n", codes[i], array_text(of, width)));
  };
  bool moves = false;
  for (size_t i = 1; i < codes.size(); ++i) {
    const std::vector<float> now = values(i);
    if (!moves && now == first) continue;
    if (!moves) {
      // All before this one are as the first: two samples hold it between them.
      file.write(fmt::format("{}.timeSamples = {{\n", declaration));
      sample(0, first);
      if (i > 1) sample(i - 1, first);
      moves = true;
    }
    sample(i, now);
  }
  if (moves)
    file.write("    }\n");
  else
    file.write(fmt::format("{} = {}\n", declaration, array_text(first, width)));
}

}  // namespace eg4d::usd
