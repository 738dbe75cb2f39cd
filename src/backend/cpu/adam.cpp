#include "backend/cpu/adam_step.h"
#include "backend/cpu/splat_kernels.h"
#include "core/threads.h"

namespace eg4d::cpu {

void adam(const Adam& a) {
  const AdamStep step(a);
  parallel_for(a.count, 16384, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      step.apply(a.gradient[i], a.parameter[i], a.first_moment[i], a.second_moment[i]);
      a.gradient[i] = 0;
    }
  });
}

}  // namespace eg4d::cpu
