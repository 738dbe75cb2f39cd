#pragma once

#include "nn/tensor.h"

namespace eg4d {

// What the sampler needs of a network: fixed device tensors, written before and read after run. Rows: the
// unconditional half first, `frames` each, or the conditional one alone.
class VideoCall {
 public:
  virtual ~VideoCall() = default;
  virtual const Tensor& input() = 0;  // [rows,H,W,8] in the network's type: scaled noisy latents, then concat
  virtual const Tensor& sinusoids() = 0;   // [rows,width] f32: sinusoidal embedding of c_noise
  virtual const Tensor& prediction() = 0;  // [rows,H,W,4] f32
  // With that video's conditioning; with injection, video 0 leaves the references for the later ones.
  virtual void run(int step, int video) = 0;
};

}  // namespace eg4d
