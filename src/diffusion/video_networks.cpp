#include "diffusion/video_networks.h"

namespace eg4d {

ClipImageEncoder& VideoNetworks::image_encoder() {
  if (!image_encoder_) image_encoder_ = checkpoint_.image_encoder(backend_);
  return *image_encoder_;
}

AutoencoderEncoder& VideoNetworks::condition_encoder() {
  if (!condition_encoder_) condition_encoder_ = checkpoint_.condition_encoder(backend_);
  return *condition_encoder_;
}

VideoUNet& VideoNetworks::unet(Precision precision) {
  if (!unet_ || unet_precision_ != precision) unet_ = checkpoint_.unet(backend_, precision);
  unet_precision_ = precision;
  return *unet_;
}

AutoencoderDecoder& VideoNetworks::decoder() {
  if (!decoder_) decoder_ = checkpoint_.decoder(backend_);
  return *decoder_;
}

void VideoNetworks::release() {
  if (keep_ == Keep::all) return;
  image_encoder_.reset();
  condition_encoder_.reset();
  unet_.reset();
  decoder_.reset();
}

}  // namespace eg4d
