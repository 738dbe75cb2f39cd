#include "diffusion/video_networks.h"

namespace eg4d {

// make(type, arena)
template <class Network, class Make>
Network& VideoNetworks::get(Kept<Network>& kept, const NetworkType& type, const Make& make) {
  if (!arena_) arena_ = std::make_shared<Arena>(backend_);
  if (!kept.network || kept.type != type) {
    kept.network.reset();
    kept.network = make(type, arena_);
    kept.type = type;
  }
  return *kept.network;
}

ClipImageEncoder& VideoNetworks::image_encoder(DType precision) {
  return get(
      image_encoder_, exact_network_type(backend_, precision),
      [&](const auto& type, const auto& arena) { return checkpoint_.image_encoder(backend_, type, arena); });
}

AutoencoderEncoder& VideoNetworks::condition_encoder(DType precision) {
  return get(condition_encoder_, exact_network_type(backend_, precision),
             [&](const auto& type, const auto& arena) {
               return checkpoint_.condition_encoder(backend_, type, arena);
             });
}

VideoUNet& VideoNetworks::unet(DType precision, FeedForwardProducts feed_forward) {
  return get(unet_, network_type(backend_, precision, feed_forward),
             [&](const auto& type, const auto& arena) { return checkpoint_.unet(backend_, type, arena); });
}

AutoencoderDecoder& VideoNetworks::decoder(DType precision) {
  return decoder(exact_network_type(backend_, precision));
}

AutoencoderDecoder& VideoNetworks::decoder(const NetworkType& wanted) {
  return get(wanted.activations == DType::f16 ? half_decoder_ : decoder_, wanted,
             [&](const auto& type, const auto& arena) { return checkpoint_.decoder(backend_, type, arena); });
}

void VideoNetworks::release() {
  if (keep_ == Keep::all) return;
  image_encoder_ = {};
  condition_encoder_ = {};
  unet_ = {};
  decoder_ = {};
  half_decoder_ = {};
  arena_.reset();
}

}  // namespace eg4d
