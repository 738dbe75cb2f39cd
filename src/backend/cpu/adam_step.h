#pragma once

#include <cmath>

#include "backend/splat_ops.h"

namespace eg4d::cpu {

// The scalars of one Adam step as PyTorch forms them: in double, then rounded once.
//   m += (g-m)·first_decay;  v = v·second_keep + g²·second_decay;  p -= step_size · m / (√v·root_scale + ε)
struct AdamStep {
  float first_decay, second_keep, second_decay, step_size, root_scale, epsilon;
  explicit AdamStep(const Adam& adam)
      : first_decay(static_cast<float>(1 - adam.beta1)),
        second_keep(static_cast<float>(adam.beta2)),
        second_decay(static_cast<float>(1 - adam.beta2)),
        step_size(static_cast<float>(adam.learning_rate / (1 - std::pow(adam.beta1, adam.step)))),
        root_scale(static_cast<float>(1 / std::sqrt(1 - std::pow(adam.beta2, adam.step)))),
        epsilon(static_cast<float>(adam.epsilon)) {}
};

}  // namespace eg4d::cpu
