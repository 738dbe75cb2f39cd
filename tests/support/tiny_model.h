#pragma once

#include "splat/model.h"

namespace eg4d::test {

// A deforming model of `count` random Gaussians with a small field whose heads do something.
Model tiny_model(Backend& backend, int count, int active_sh_degree);

}  // namespace eg4d::test
