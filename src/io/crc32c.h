#pragma once

#include <cstdint>
#include <string_view>

namespace eg4d {

// The Castagnoli CRC (RFC 3720, appendix B.4).
uint32_t crc32c(std::string_view bytes);

}  // namespace eg4d
