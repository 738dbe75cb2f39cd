#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace eg4d {

using Shape = std::vector<int64_t>;
std::string to_string(const Shape& shape);  // "[21,72,72,4]"
int64_t element_count(const Shape& shape);

}  // namespace eg4d
