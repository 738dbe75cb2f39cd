#include <algorithm>

#include "backend/cpu/splat_kernels.h"

namespace eg4d::cpu {

void next_inputs(const NextInputs& a) {
  std::copy_n(a.rows + *a.next, a.count, a.to);
  *a.next += a.count;
}

}  // namespace eg4d::cpu
