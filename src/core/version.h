#pragma once

namespace eg4d {

extern const char* const kVersion;  // "0.1.0"

}  // namespace eg4d
