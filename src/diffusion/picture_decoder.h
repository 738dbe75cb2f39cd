#pragma once

#include <functional>
#include <map>
#include <memory>

#include "diffusion/vae.h"

namespace eg4d {

// Decodes latents in the types that networks compute in: with f16 in half the time, and what came out beyond
// its range, as SDXL's first autoencoder does, once more with activations in f32. Which of the two it is
// depends on the latents alone.
class PictureDecoder {
 public:
  // The decoder of that type, which outlives this.
  using Load = std::function<AutoencoderDecoder&(const NetworkType& type)>;
  // precision: network_type's and exact_network_type's.
  PictureDecoder(Backend& backend, DType precision, Load load, float latent_scale = kSvdLatentScale);

  // [N,h,w,4] → [N,8h,8w,3], not clamped, all at a time; in memory that the next call of that shape
  // overwrites.
  const Tensor& decode(const Tensor& latents);

 private:
  using Prepared = std::map<Shape, std::unique_ptr<PreparedFunction>>;
  const Tensor& run(Prepared& prepared, const NetworkType& type, const Tensor& latents);

  NetworkType fast_, exact_;
  Load load_;
  float latent_scale_;
  Prepared fast_decoders_, exact_decoders_;  // by the latents' shape
};

}  // namespace eg4d
