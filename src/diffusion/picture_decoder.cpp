#include "diffusion/picture_decoder.h"

#include <algorithm>
#include <cmath>

#include "nn/network_type.h"

namespace eg4d {
namespace {

// What leaves f16's range in a picture makes its last group norm, and with that all of it, NaN.
bool is_finite(const Tensor& pictures) {
  const int64_t row = pictures.dim(2) * pictures.dim(3), size = pictures.dim(1) * row;
  for (int64_t i = 0; i < pictures.dim(0); ++i) {
    const std::vector<float> values = pictures.part(i * size, {row}).to_host();
    if (!std::ranges::all_of(values, [](float value) { return std::isfinite(value); })) return false;
  }
  return true;
}

}  // namespace

PictureDecoder::PictureDecoder(Backend& backend, DType precision, Load load, float latent_scale)
    : fast_(precision == DType::f16 ? network_type(backend, precision)
                                    : exact_network_type(backend, precision)),
      exact_(exact_network_type(backend, precision)),
      load_(std::move(load)),
      latent_scale_(latent_scale) {}

const Tensor& PictureDecoder::run(Prepared& prepared, const NetworkType& type, const Tensor& latents) {
  std::unique_ptr<PreparedFunction>& decoder = prepared[latents.shape()];
  if (!decoder) decoder = load_(type).prepare(latents.shape(), latent_scale_);
  latents.backend().run(CopyBytes{decoder->input().raw(), latents.raw(), latents.bytes()});
  decoder->run();
  return decoder->output();
}

const Tensor& PictureDecoder::decode(const Tensor& latents) {
  if (fast_ != exact_) {
    const Tensor& pictures = run(fast_decoders_, fast_, latents);
    if (is_finite(pictures)) return pictures;
  }
  return run(exact_decoders_, exact_, latents);
}

}  // namespace eg4d
