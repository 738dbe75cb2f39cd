#include <cstring>

#include "backend/cpu/splat_kernels.h"
#include "core/threads.h"

namespace eg4d::cpu {

void gather_rows(const GatherRows& a) {
  const size_t bytes = static_cast<size_t>(a.row_bytes);
  parallel_for(a.count, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      char* row = static_cast<char*>(a.to) + i * a.row_bytes;
      if (a.index[i] < 0) {
        std::memset(row, 0, bytes);
      } else {
        std::memcpy(row, static_cast<const char*>(a.from) + a.index[i] * a.row_bytes, bytes);
      }
    }
  });
}

}  // namespace eg4d::cpu
