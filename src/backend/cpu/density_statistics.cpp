#include <algorithm>
#include <cmath>

#include "backend/cpu/splat_kernels.h"
#include "core/threads.h"

namespace eg4d::cpu {

void density_statistics(const DensityStatistics& s) {
  parallel_for(s.count, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (s.radii[i] <= 0) continue;
      const float x = s.d_means_ndc[i * 2], y = s.d_means_ndc[i * 2 + 1];
      s.gradient_sum[i] += std::sqrt(x * x + y * y);
      s.views[i] += 1;
      s.max_radii[i] = std::max(s.max_radii[i], static_cast<float>(s.radii[i]));
    }
  });
}

}  // namespace eg4d::cpu
