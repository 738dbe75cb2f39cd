#pragma once

#include <cstdint>

namespace eg4d {

// An ordered queue of device work, owned by a Backend.
struct Stream {
  uint64_t handle = 0;
};

}  // namespace eg4d
