#pragma once

#include "backend/splat_ops.h"

namespace eg4d::cpu {

// The scalars of one Adam step.
//   m += (g-m)·first_decay;  v = v·second_keep + g²·second_decay;  p -= step_size · m / (√v·root_scale + ε)
struct AdamStep {
  float first_decay, second_keep, second_decay, step_size, root_scale, epsilon;
  explicit AdamStep(const Adam& adam)
      : first_decay(static_cast<float>(1 - adam.beta1)),
        second_keep(static_cast<float>(adam.beta2)),
        second_decay(static_cast<float>(1 - adam.beta2)),
        step_size(adam.rate->step_size),
        root_scale(adam.rate->root_scale),
        epsilon(static_cast<float>(adam.epsilon)) {}
};

}  // namespace eg4d::cpu
