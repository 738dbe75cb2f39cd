#include "backend/splat_ops.h"

#include <cmath>

namespace eg4d {

AdamRate adam_rate(double learning_rate, int64_t step, double beta1, double beta2) {
  const auto at = static_cast<double>(step);
  return {static_cast<float>(learning_rate / (1 - std::pow(beta1, at))),
          static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, at)))};
}

}  // namespace eg4d
