#include "diffusion/video_networks.h"

namespace eg4d {

std::shared_ptr<Arena> VideoNetworks::arena() {
  if (!arena_) arena_ = std::make_shared<Arena>(backend_);
  return arena_;
}

ClipImageEncoder& VideoNetworks::image_encoder() {
  if (!image_encoder_) image_encoder_ = checkpoint_.image_encoder(backend_, {}, arena());
  return *image_encoder_;
}

AutoencoderEncoder& VideoNetworks::condition_encoder() {
  if (!condition_encoder_) condition_encoder_ = checkpoint_.condition_encoder(backend_, {}, arena());
  return *condition_encoder_;
}

VideoUNet& VideoNetworks::unet(DType precision, FeedForwardProducts feed_forward) {
  const NetworkType type = network_type(backend_, precision, feed_forward);
  if (!unet_ || unet_type_ != type) {
    unet_.reset();
    unet_ = checkpoint_.unet(backend_, type, arena());
  }
  unet_type_ = type;
  return *unet_;
}

AutoencoderDecoder& VideoNetworks::decoder() {
  if (!decoder_) decoder_ = checkpoint_.decoder(backend_, {}, arena());
  return *decoder_;
}

void VideoNetworks::release() {
  if (keep_ == Keep::all) return;
  image_encoder_.reset();
  condition_encoder_.reset();
  unet_.reset();
  decoder_.reset();
  arena_.reset();
}

}  // namespace eg4d
