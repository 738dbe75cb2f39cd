#pragma once

#include <cstddef>
#include <string>

namespace eg4d {

// "12G" → 12 GiB: a number above 0, which may have a decimal point, and G, M or T (also GB, GiB, …; all are
// powers of 1024). Throws UsageError that opens with `what` ("--memory").
size_t parse_byte_size(const std::string& text, const std::string& what);

// For people: "5.99 GiB", "240 MiB", "1000 bytes".
std::string byte_size_text(size_t bytes);

}  // namespace eg4d
