#pragma once

#include <memory>
#include <span>
#include <vector>

#include "diffusion/control_checkpoint.h"
#include "diffusion/image_euler_sampler.h"
#include "diffusion/prompt_embedding.h"
#include "random/normal_stream.h"

namespace eg4d {

// SDXL-Turbo's image-to-image (Sauer et al. 2023; Meng et al., "SDEdit", 2022): a picture is encoded, some
// noise is added, and the last denoising steps are made with a prompt. The networks are loaded once and serve
// many pictures. Pictures are [height,width,3] in [0,1], of any size of at least one pixel; inside, the last
// row and column are repeated up to a multiple of size_multiple().
class ImageToImage {
 public:
  // The backend must outlive it; the checkpoints may go. Takes UNet, autoencoder and ControlNet (or none:
  // null) into memory. precision: network_type's for UNet and ControlNet. Throws Error when the ControlNet
  // was made for other networks.
  ImageToImage(Backend& backend, const ImageCheckpoint& checkpoint, DType precision = DType::f32,
               const ControlNetCheckpoint* control = nullptr);
  ~ImageToImage();

  // For the calls that follow. `negative` is used when guidance is above 1.
  void set_prompt(PromptEmbedding prompt, PromptEmbedding negative);

  struct Options {
    int steps = 10;
    double strength = 0.11;  // the last ⌊steps·strength⌋ steps are made
    double guidance = 0;     // up to 1: none; above, u + guidance·(c - u) (Ho & Salimans 2022)
    EulerKind sampler = EulerKind::ancestral;
    float control_scale = 0;  // factor on what the ControlNet computes
  };
  // Draws, each as one [4,h,w] array: the sample of the encoder's distribution, the noise that is added, one
  // for every step made (EulerKind::plain: none of those). `hint`: what the ControlNet sees, like the
  // picture; empty: it is not asked. Throws UsageError for options out of range.
  std::vector<float> refine(std::span<const float> picture, int64_t height, int64_t width,
                            const Options& options, NormalStream& noise, std::span<const float> hint = {});

  struct Distillation {
    double share = 0.5;  // of the noise schedule: the time step is ⌊share · train_steps⌋
    double guidance = 0;
    float weight = 1;
    bool sum = false;  // over the numbers in z, instead of their mean
  };
  // Score distillation (Poole et al., "DreamFusion", 2022, equation 3): the gradient that leads a picture to
  // where the network finds it likely under the prompt. With the picture's latents z (the encoder's mode) and
  // noise ε, adds weight · w(t)·(ε̂(√ᾱ·z + √(1-ᾱ)·ε) - ε) · ∂z/∂picture, averaged (or summed) over the numbers
  // in z, to d_picture; w(t) = 1-ᾱ. Draws ε as one [4,h,w] array. picture, d_picture: device memory
  // [height,width,3].
  void distill(const Tensor& picture, const Distillation& how, NormalStream& noise, const Tensor& d_picture);

  // The parts, in device memory. Latents are [1,h,w,4], scaled to deviation 1.
  // Of a picture [height,width,3]: a sample drawn with `noise`, or without it the mean.
  Tensor encode(const Tensor& picture, NormalStream* noise);
  // The picture, clamped to [0,1]. The latents may tell of a larger one: then the padding is cut off.
  Tensor decode(const Tensor& latents, int64_t height, int64_t width);
  // The network's prediction of the noise in √ᾱ·latents + √(1-ᾱ)·noise at time step t, for which see
  // cumulative_alphas.
  Tensor predict_noise(const Tensor& noisy, double timestep, double guidance);
  const NoiseSchedule& schedule() const;

  int64_t size_multiple() const;  // 32
  size_t weight_bytes() const;

 private:
  struct Parts;
  struct Control;  // an embedded hint
  Control embed_hint(std::span<const float> hint, int64_t height, int64_t width, float scale);
  // `noisy`: without its place, which is the network's input of one row, or two with guidance.
  Tensor predict(NoisyLatents noisy, int64_t height, int64_t width, double timestep, double guidance,
                 const Control* control);
  Tensor score_difference(const Tensor& latents, const Distillation& how, NormalStream& noise);
  std::unique_ptr<Parts> parts_;
};

}  // namespace eg4d
