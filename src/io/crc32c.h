#pragma once

#include <cstdint>
#include <string_view>

namespace eg4d {

// The Castagnoli CRC (RFC 3720, appendix B.4). `before` is that of the bytes that came earlier:
// crc32c(b, crc32c(a)) is that of a followed by b. Gigabytes a second.
uint32_t crc32c(std::string_view bytes, uint32_t before = 0);

}  // namespace eg4d
