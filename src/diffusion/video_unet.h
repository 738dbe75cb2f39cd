#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "diffusion/attention_injection.h"
#include "diffusion/step_cache.h"
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
    NetworkType type = {};
    std::shared_ptr<Arena> arena = {};  // shared with networks that do not run at the same time; or its own
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
  size_t injection_layers() const;  // references that attention injection keeps: 16

  // What the network computes from the conditions alone; N = videos · frames rows, the frames of a video
  // together. For classifier-free guidance the unconditional half is the first video, the conditional one the
  // second.
  struct Conditioning;
  std::shared_ptr<const Conditioning> condition(const Tensor& context,  // [N,1,context_width], f32
                                                const Tensor& vector,   // [N,vector_width], f32
                                                int64_t frames);

  // One evaluation of the network, prepared for a size and made again and again.
  class Call;

  // The same once, for any size. x: [N,H,W,in_channels] → [N,H,W,out_channels], f32. `timesteps` (host): N
  // numbers, or one for all; for the EDM sampler c_noise. Observer names: key paths below the prefix,
  // "input_blocks.3", "middle_block.1.norm", "time_embed", …
  Tensor forward(const Tensor& x, std::span<const float> timesteps, const Conditioning& conditioning,
                 const Observer& observer = {});

  size_t weight_bytes() const;      // device memory
  size_t activation_bytes() const;  // the largest call so far

 private:
  struct Network;
  std::unique_ptr<Network> network_;
};

class VideoUNet::Call {
 public:
  struct Size {
    int64_t rows = 0, frames = 0;  // rows: those of all videos in the call (the two halves of guidance)
    int64_t height = 0, width = 0;
    bool operator==(const Size&) const = default;
  };
  // Plans it and takes its memory: the tensors below, room for one video's conditioning and, with injection,
  // the references; with a cache also one video's deep features, and references of the steps from one whole
  // step to the next, of the layers that these compute. The network must outlive it. Throws Error for a cache
  // that is deeper than the network.
  Call(VideoUNet& network, const Size& size, const std::optional<AttentionInjection::Options>& injection = {},
       const StepCache& cache = {});
  ~Call();

  // To be written before run(): [rows,H,W,in_channels] in the network's type, and [rows,sinusoid_width], f32
  // (sinusoidal_embedding of the time steps).
  const Tensor& input() const;
  const Tensor& sinusoids() const;
  void set_timestep(float timestep);  // the same for all rows, from the host
  const Tensor& prediction() const;   // [rows,H,W,out_channels], f32

  // Allocates nothing and copies nothing to or from the host. The conditioning is that of the call's size;
  // step and first_video matter with injection (AttentionInjection::begin) and a cache: there, a step that is
  // no whole one must follow the one before it of the same video. Throws Error otherwise.
  void run(const Conditioning& conditioning, int step = 0, bool first_video = true);

  const Size& size() const;
  const AttentionInjection* injection() const;  // that of whole steps, or null
  const StepCache& cache() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace eg4d
