#pragma once

#include <memory>
#include <span>
#include <vector>

#include "nn/session.h"
#include "nn/weights.h"

namespace eg4d {

struct ImageConditioning;  // diffusion/image_unet_frame.h
struct UNetResiduals;      // diffusion/unet_frame.h

// The UNet of SDXL (Podell et al. 2023) and SDXL-Turbo: it predicts the noise in latents from a text's tokens
// (cross-attention) and from a vector of the pooled text and the picture's sizes.
class ImageUNet {
 public:
  // Sizes are read from the tensors, except how channels are divided into attention heads.
  struct Options {
    // Heads per level, from the latents' own size down; empty: of so many channels each as the file's
    // metadata "num_head_channels" tell, else 64 as in all published models.
    std::vector<int64_t> heads = {};
    NetworkType type = {};
    std::shared_ptr<Arena> arena = {};  // shared with networks that do not run at the same time; or its own
  };
  // Throws Error when tensors below `prefix` are missing, surplus or have another shape. The backend must
  // outlive the network; the weights may go.
  ImageUNet(Backend& backend, const WeightMap& weights, const std::string& prefix, const Options& options);
  ~ImageUNet();

  // What a ControlNet for it has in common with it.
  struct Form {
    int64_t channels = 0, context = 0, vector = 0;
    std::vector<int64_t> skips;  // channels of what the input blocks put out
  };
  // Only compares names and shapes with the checkpoint's; throws as the constructor does.
  static Form check(const WeightMap& weights, const std::string& prefix);

  int64_t channels() const;       // of the latents: 4
  int64_t context_width() const;  // 2048
  int64_t vector_width() const;   // 2816
  int64_t size_multiple() const;  // latents' height and width must be multiples of it: 4

  // What the network computes from the conditions alone, once for many calls: N pictures of a call. Both f32.
  std::shared_ptr<const ImageConditioning> condition(const Tensor& context,  // [N,tokens,context_width]
                                                     const Tensor& vector);  // [N,vector_width]

  // One evaluation of the network, prepared for a size and a condition and made again and again.
  class Call;

  // The same once, for any size. x: [N,H,W,channels] → the same shape, f32. `timesteps` (host): N numbers, or
  // one for all. `residuals`: what a ControlNet computed for the same call, or null. Observer names: key
  // paths below the prefix, "input_blocks.3", "middle_block", "time_embed", …
  Tensor forward(const Tensor& x, std::span<const float> timesteps, const ImageConditioning& conditioning,
                 const UNetResiduals* residuals = nullptr, const Observer& observer = {});

  size_t weight_bytes() const;      // device memory
  size_t activation_bytes() const;  // the largest call so far

 private:
  struct Network;
  std::unique_ptr<Network> network_;
};

class ImageUNet::Call {
 public:
  // What a ControlNet's call shares with it (ControlNet::Call).
  struct Shared {
    Tensor input, sinusoids;
    const UNetResiduals* residuals = nullptr;
  };
  // Plans it and takes its memory. The network, and the residuals, must outlive it; N pictures as the
  // conditioning has them. Throws Error for a size that the network does not take.
  Call(ImageUNet& network, int64_t height, int64_t width,
       std::shared_ptr<const ImageConditioning> conditioning, const Shared& shared);
  Call(ImageUNet& network, int64_t height, int64_t width,
       std::shared_ptr<const ImageConditioning> conditioning)
      : Call(network, height, width, std::move(conditioning), Shared{}) {}
  ~Call();

  // To be written before run(): [N,H,W,channels] in the network's type, and [N,sinusoid_width], f32.
  const Tensor& input() const;
  const Tensor& sinusoids() const;
  void set_timestep(float timestep);  // the same for all pictures, from the host
  const Tensor& prediction() const;   // [N,H,W,channels], f32

  void run();  // allocates nothing and copies nothing to or from the host

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace eg4d
