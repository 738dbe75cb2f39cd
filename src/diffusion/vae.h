#pragma once

#include <functional>
#include <memory>

#include "nn/prepared_call.h"
#include "nn/weights.h"

namespace eg4d {

// The variational autoencoder of Stable Diffusion (Rombach et al. 2022): pictures in [-1,1], latents of 1/8
// the size with 4 channels. Sizes are read from the tensors. Both parts throw Error when tensors are missing,
// surplus or have another shape; what goes in and comes out is f32. The backend must outlive them; the
// weights may go.

struct AutoencoderOptions {
  // With f16 activations what SDXL's decoder adds up can leave its range (PictureDecoder). The way back
  // through the encoder is f32 alone.
  NetworkType type = {};
  std::shared_ptr<Arena> arena = {};  // shared with networks that do not run at the same time; or its own
};

inline constexpr float kSvdLatentScale =
    0.18215f;  // standard deviation of the samplers' latents is 1: times this

class AutoencoderEncoder {
 public:
  // <prefix>encoder.* and, where the checkpoint has it, <prefix>quant_conv.*
  AutoencoderEncoder(Backend& backend, const WeightMap& weights, const std::string& prefix,
                     const AutoencoderOptions& options = {});
  ~AutoencoderEncoder();
  static void check(const WeightMap& weights, const std::string& prefix);

  // [N,H,W,3] → [N,H/8,W/8,2·4]: mean and logarithm of the variance, not scaled. H and W are multiples of 8.
  Tensor moments(const Tensor& pictures);
  // The same, prepared for pictures of one shape. The encoder must outlive it.
  std::unique_ptr<PreparedFunction> prepare_moments(const Shape& pictures);
  // The mode, which is the mean: [N,H/8,W/8,4].
  Tensor mode(const Tensor& pictures);

  // Adds to d_pictures the gradient, with respect to the pictures, of something that depends on their mode.
  // `gradient` is called once: it is given the mode and returns the gradient with respect to it, a tensor of
  // the same shape. What the way back needs stays in memory meanwhile: 5.2 KiB per pixel for SDXL's encoder.
  using ModeGradient = std::function<Tensor(const Tensor& mode)>;
  void differentiate(const Tensor& pictures, const ModeGradient& gradient, const Tensor& d_pictures);

  int64_t size_multiple() const;
  size_t activation_bytes() const;

 private:
  struct Network;
  std::unique_ptr<Network> network_;
};

// The plain decoder, or the temporal one of SVD, whose residual blocks also convolve over the frames.
class AutoencoderDecoder {
 public:
  // <prefix>decoder.* and, where the checkpoint has it, <prefix>post_quant_conv.*
  AutoencoderDecoder(Backend& backend, const WeightMap& weights, const std::string& prefix,
                     const AutoencoderOptions& options = {});
  ~AutoencoderDecoder();
  static void check(const WeightMap& weights, const std::string& prefix);

  // [N,h,w,4] → [N,8h,8w,3], not clamped. `frames` pictures at a time (the last piece may be shorter), which
  // the temporal decoder takes as the frames of one video: fewer frames need less memory, and mix less over
  // time.
  Tensor decode(const Tensor& latents, int64_t frames, float latent_scale = kSvdLatentScale,
                const Observer& observer = {});
  // The same for latents of one shape, all at a time; where the device has too little memory for that, its
  // layers see some frames or some of the pixels after the other, which gives the same up to rounding. The
  // decoder must outlive it.
  std::unique_ptr<PreparedFunction> prepare(const Shape& latents, float latent_scale = kSvdLatentScale);

  bool temporal() const;
  int64_t size_multiple() const;
  size_t activation_bytes() const;

 private:
  struct Network;
  std::unique_ptr<Network> network_;
};

}  // namespace eg4d
