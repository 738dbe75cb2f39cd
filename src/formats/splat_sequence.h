#pragma once

#include <functional>

#include "io/ply.h"

namespace eg4d::splat {

// One object at several times. Row i is the same Gaussian in every frame.
struct SplatSequence {
  int frames = 1;
  double fps = 20;  // frames per second when it is played
  std::function<GaussianCloud(int frame)> at;
};

}  // namespace eg4d::splat
