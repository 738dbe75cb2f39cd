#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "diffusion/image_unet.h"

namespace eg4d {

// A ControlNet for SDXL (Zhang et al., "Adding conditional control to text-to-image diffusion models", 2023):
// a copy of the UNet's first half that also sees a picture, the hint, such as a depth map. What it puts out
// is added to what the UNet's input blocks and middle put out.
class ControlNet {
 public:
  // Sizes are read from the tensors. Names below the prefix: those of the UNet's first half,
  // controlnet_cond_embedding.*, controlnet_down_blocks.0 … and controlnet_mid_block. Throws Error when
  // tensors are missing, surplus or have another shape. The backend must outlive it; the weights may go.
  ControlNet(Backend& backend, const WeightMap& weights, const std::string& prefix,
             const ImageUNet::Options& options);
  ~ControlNet();

  struct Form {
    ImageUNet::Form network;    // context 0: it does not look at the text's tokens (the -small one)
    int64_t hint_multiple = 1;  // pixels of the hint on each side of a latent
  };
  // Only compares names and shapes with the checkpoint's; throws as the constructor does.
  static Form check(const WeightMap& weights, const std::string& prefix);

  int64_t hint_multiple() const;

  // As those of the UNet.
  std::shared_ptr<const ImageConditioning> condition(const Tensor& context, const Tensor& vector);

  // hint: [N,H·hint_multiple,W·hint_multiple,3] in [0,1] → what forward takes, once for many calls:
  // [N,H,W,channels of the first block].
  Tensor embed_hint(const Tensor& hint);

  // One evaluation, prepared for a size and a condition and made again and again.
  class Call;

  // The same once, for any size. x, timesteps and conditioning as for the UNet's call that takes the result;
  // one embedded hint for each of the N pictures, or one for all. `scale`: factor on the result.
  UNetResiduals forward(const Tensor& x, std::span<const float> timesteps,
                        const ImageConditioning& conditioning, const Tensor& embedded_hint, float scale,
                        const Observer& observer = {});

  size_t weight_bytes() const;
  size_t activation_bytes() const;

 private:
  struct Network;
  std::unique_ptr<Network> network_;
};

class ControlNet::Call {
 public:
  // As ImageUNet::Call, for latents of that size. `hints`: embedded ones in the call, 1 or as many as
  // pictures. `scale`: factor on the result.
  Call(ControlNet& network, int64_t height, int64_t width,
       std::shared_ptr<const ImageConditioning> conditioning, int64_t hints, float scale);
  ~Call();

  const Tensor& input() const;  // [N,H,W,channels]; with sinusoids and residuals, for the UNet's call
  const Tensor& sinusoids() const;
  const Tensor& hint() const;  // [hints,H,W,channels of the first block]: what embed_hint made, copied in
  const UNetResiduals& residuals() const;

  void run();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace eg4d
