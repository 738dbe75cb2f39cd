#pragma once

#include <memory>
#include <span>
#include <vector>

#include "diffusion/attention_injection.h"
#include "nn/session.h"
#include "nn/weights.h"

namespace eg4d {

// The spatio-temporal UNet of Stable Video Diffusion and SV3D (Blattmann et al. 2023; Voleti et al. 2024): a
// 2D UNet whose residual blocks and transformers are each followed by one over the frames, blended with a
// learned weight.
//
// A context here is one token per frame, so that the softmax of every cross-attention is over one element and
// the layer is to_out(to_v(context)), the same for all positions; condition() computes these constants once
// per video.
class VideoUNet {
 public:
  // Sizes are read from the tensors, except the width of an attention head.
  struct Options {
    int64_t head_channels =
        0;  // 0: the file's metadata "num_head_channels", else 64 as in all published models
    Precision precision = Precision::f32;
  };
  // Throws Error when tensors below `prefix` are missing, surplus or have another shape. The backend must
  // outlive the network; the weights may go.
  VideoUNet(Backend& backend, const WeightMap& weights, const std::string& prefix, const Options& options);
  VideoUNet(Backend& backend, const WeightMap& weights)
      : VideoUNet(backend, weights, "model.diffusion_model.", Options{}) {}
  ~VideoUNet();

  // Only compares names and shapes with the checkpoint's; throws as the constructor does.
  static void check(const WeightMap& weights, const std::string& prefix);

  int64_t in_channels() const;      // of the scaled noisy latents with the concatenated condition behind: 8
  int64_t out_channels() const;     // 4
  int64_t context_width() const;    // 1024
  int64_t vector_width() const;     // svd 768, sv3d_u 256, sv3d_p 1280
  int64_t size_multiple() const;    // latents' height and width must be multiples of it: 8
  int64_t sinusoid_width() const;   // of a time step: 320
  size_t injection_layers() const;  // references per step that attention injection keeps: 16

  // What the network computes from the conditions alone; N = videos · frames rows, the frames of a video
  // together. For classifier-free guidance the unconditional half is the first video, the conditional one the
  // second.
  struct Conditioning;
  std::shared_ptr<const Conditioning> condition(const Tensor& context,  // [N,1,context_width]
                                                const Tensor& vector,   // [N,vector_width]
                                                int64_t frames);

  // x: [N,H,W,in_channels] → [N,H,W,out_channels]. `timesteps` (host): N numbers, or one for all; for the EDM
  // sampler c_noise. Observer names: key paths below the prefix, "input_blocks.3", "middle_block.1.norm",
  // "time_embed", …
  Tensor forward(const Tensor& x, std::span<const float> timesteps, const Conditioning& conditioning,
                 AttentionInjection* injection = nullptr, const Observer& observer = {});
  // With the sinusoids of the time steps, [N,sinusoid_width].
  Tensor forward_at(const Tensor& x, const Tensor& sinusoids, const Conditioning& conditioning,
                    AttentionInjection* injection = nullptr, const Observer& observer = {});

  size_t weight_bytes() const;      // device memory
  size_t activation_bytes() const;  // the largest call so far

 private:
  struct Network;
  std::unique_ptr<Network> network_;
};

}  // namespace eg4d
