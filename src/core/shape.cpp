#include "core/shape.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace eg4d {

std::string to_string(const Shape& shape) {
  return fmt::format("[{}]", fmt::join(shape, ","));
}

int64_t element_count(const Shape& shape) {
  int64_t count = 1;
  for (int64_t extent : shape) count *= extent;
  return count;
}

}  // namespace eg4d
