#include <cstring>

#include "backend/cpu/splat_kernels.h"
#include "core/threads.h"

namespace eg4d::cpu {

// Rows that follow each other in both places move together: most of those that density control keeps do.
void gather_rows(const GatherRows& a) {
  parallel_for(a.count, 1024, [&](int64_t begin, int64_t end) {
    int64_t length = 0;
    for (int64_t i = begin; i < end; i += length) {
      const int32_t first = a.index[i];
      length = 1;
      while (i + length < end && a.index[i + length] == (first < 0 ? first : first + length)) ++length;
      char* to = static_cast<char*>(a.to) + i * a.row_bytes;
      const size_t bytes = static_cast<size_t>(length * a.row_bytes);
      if (first < 0)
        std::memset(to, 0, bytes);
      else
        std::memcpy(to, static_cast<const char*>(a.from) + first * a.row_bytes, bytes);
    }
  });
}

}  // namespace eg4d::cpu
