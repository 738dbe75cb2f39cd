#pragma once

#include <vector>

#include "nn/layers.h"

namespace eg4d {

// Consistency between the multi-view videos of consecutive input frames, without training (EG4D, ICLR 2025):
// in every spatial self-attention the first video leaves its tokens x as the reference of (denoising step,
// layer); later videos take their keys and values from m = strength·reference + (1 - strength)·x, queries
// from x. With `ema`, m becomes the reference for the video after.
//
// All videos make a step before any makes the next, so that there are the references of one step only. Part
// of a prepared call (VideoUNet::Call): they are allocated when that is planned.
class AttentionInjection {
 public:
  struct Options {
    float strength = 0.5f;
    bool ema = true;
  };
  explicit AttentionInjection(const Options& options) : options_(options) {}

  // Before every call of the network: which step it is, and whether the video is the first. Throws Error
  // unless the references are those of the step, or will be.
  void begin(int step, bool first_video);

  // [rows of the network's input · tokens, channels] per layer in the order of execution; not defined for
  // layers that its calls leave out (step_cache.h).
  const std::vector<Tensor>& references() const { return references_; }
  size_t bytes() const;

  // For the network: the tokens that keys and values come from, after the norm. x: [N·tokens, channels];
  // normed: x after the norm.
  enum class Role { first_video, later_video };
  Tensor normed_for_keys(Session& session, Role role, const NormLayer& norm, size_t layer, const Tensor& x,
                         const Tensor& normed);

 private:
  Options options_;
  int step_ = -1;  // whose references there are; -1: none
  std::vector<Tensor> references_;
};

}  // namespace eg4d
