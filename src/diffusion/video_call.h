#pragma once

#include "nn/tensor.h"

namespace eg4d {

// What the sampler needs of a network for videos: tensors at fixed places in device memory, written before a
// call and read after it. Their rows are the frames of a video, 2·frames with the unconditional half of
// classifier-free guidance first, or frames where no guidance needs that half.
class VideoCall {
 public:
  virtual ~VideoCall() = default;
  virtual const Tensor& input() = 0;  // [rows,H,W,8] in the network's type: scaled noisy latents, then concat
  virtual const Tensor& sinusoids() = 0;   // [rows,width] f32: of c_noise
  virtual const Tensor& prediction() = 0;  // [rows,H,W,4] f32
  // With the context and vector of that video (multi-view runs paint one per frame). With attention injection
  // video 0 leaves the references of the step that the later ones use.
  virtual void run(int step, int video) = 0;
  // How many consecutive steps of a video it takes before those of the next video, from a multiple of as many
  // on: more than one where it keeps something from step to step (step_cache.h).
  virtual int steps_together() const { return 1; }
};

}  // namespace eg4d
