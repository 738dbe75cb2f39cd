#include <cstring>

#include "backend/cpu/splat_kernels.h"
#include "core/threads.h"

namespace eg4d::cpu {

void gather_rows(void* to, const void* from, const int32_t* index, int64_t count, int64_t row_bytes) {
  const size_t bytes = static_cast<size_t>(row_bytes);
  parallel_for(count, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      char* row = static_cast<char*>(to) + i * row_bytes;
      if (index[i] < 0) {
        std::memset(row, 0, bytes);
      } else {
        std::memcpy(row, static_cast<const char*>(from) + index[i] * row_bytes, bytes);
      }
    }
  });
}

}  // namespace eg4d::cpu
