#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "nn/layers.h"

namespace eg4d {

// Consistency between the multi-view videos of consecutive input frames, without training (EG4D, ICLR 2025):
// in every spatial self-attention the first video leaves its tokens x as the reference of (denoising step,
// layer); later videos take their keys and values from m = strength·reference + (1 - strength)·x, queries
// from x. With `ema`, m becomes the reference for the video after.
//
// References of different steps are kept apart, so that videos may be painted one after the other (all
// references stay) or step by step (call forget after every step: memory for one step only). Both give the
// same pictures.
class AttentionInjection {
 public:
  struct Options {
    float strength = 0.5f;
    bool ema = true;
  };
  // The backend must outlive it.
  AttentionInjection(Backend& backend, const Options& options) : backend_(&backend), options_(options) {}

  // Before every call of the network: which step it is, and whether the video is the first.
  void begin(int step, bool first_video);
  void forget(int step);  // the memory serves the next step

  // [rows of the network's input, tokens, channels] per layer in the order of execution.
  const std::vector<Tensor>& references(int step) const { return references_.at(step); }
  size_t bytes() const;

  // For the network: the tokens that keys and values come from, after the norm. x: [N·tokens, channels];
  // normed: x after the norm.
  Tensor normed_for_keys(Session& session, const NormLayer& norm, size_t layer, const Tensor& x,
                         const Tensor& normed);

 private:
  Backend* backend_;
  Options options_;
  int step_ = 0;
  bool recording_ = true;
  std::map<int, std::vector<Tensor>> references_;
  std::vector<Tensor> spare_;
};

}  // namespace eg4d
