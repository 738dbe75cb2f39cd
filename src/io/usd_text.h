#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "io/atomic_file.h"

// Pieces of `.usda`, the text of OpenUSD.
namespace eg4d::usd {

// "[(1, 2, 3), (4, 5, 6)]"; numbers without parentheses where they are single.
std::string array_text(std::span<const float> values, size_t width);

// The beginning of a file with one object, "Object", which lasts from the first time code to the last; `up`:
// 'Y' or 'Z'; one unit is a metre.
std::string header_text(double first_code, double last_code, double codes_per_second, char up);

// An attribute ("    point3f[] points") whose elements are of `width` numbers. It is sampled at the time
// codes, or told once where it never changes. `values` gives those of one of the codes, and is asked for each
// once, in order.
void write_attribute(AtomicFile& file, const std::string& declaration, size_t width,
                     std::span<const double> codes, const std::function<std::vector<float>(size_t)>& values);

}  // namespace eg4d::usd
