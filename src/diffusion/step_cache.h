#pragma once

namespace eg4d {

// Deep features kept from step to step (DeepCache: Ma, Fang and Wang, CVPR 2024). What the deep half of a
// UNet computes changes slowly while it samples, so that most steps can do with that of an earlier one: every
// `interval`-th step, from the first on, is a whole one, and leaves what goes into the last `depth` output
// blocks; the steps between compute these blocks alone, with the input blocks that they take from. Faster,
// and not the same pictures.
struct StepCache {
  int interval = 1;  // 1: every step is a whole one
  int depth = 1;

  bool is_whole(int step) const { return step % interval == 0; }
};

}  // namespace eg4d
