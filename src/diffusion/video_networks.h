#pragma once

#include <filesystem>
#include <memory>

#include "diffusion/video_checkpoint.h"
#include "nn/network_type.h"

namespace eg4d {

// The networks of one video checkpoint, read when they are first asked for.
class VideoNetworks {
 public:
  // What release() leaves in memory: nothing, or everything, for the next picture.
  enum class Keep { none, all };

  // Throws as VideoCheckpoint does. The backend must outlive it.
  VideoNetworks(Backend& backend, const std::filesystem::path& file_or_folder, Keep keep = Keep::none,
                const std::filesystem::path& unet = {})
      : backend_(backend), checkpoint_(file_or_folder, unet), keep_(keep) {}

  const VideoCheckpoint& checkpoint() const { return checkpoint_; }
  // precision: as network_type and, for all but the UNet, exact_network_type understand it. A network that is
  // in memory in another one is read again.
  ClipImageEncoder& image_encoder(DType precision = DType::f32);
  AutoencoderEncoder& condition_encoder(DType precision = DType::f32);
  VideoUNet& unet(DType precision = DType::f32, FeedForwardProducts feed_forward = FeedForwardProducts::same);
  AutoencoderDecoder& decoder(DType precision = DType::f32);
  // Of that type; one in f16 and another one may be in memory at the same time.
  AutoencoderDecoder& decoder(const NetworkType& type);

  // The networks in memory have done their part.
  void release();

 private:
  template <class Network>
  struct Kept {
    std::unique_ptr<Network> network;
    NetworkType type;
  };
  template <class Network, class Make>
  Network& get(Kept<Network>& kept, const NetworkType& type, const Make& make);

  Backend& backend_;
  const VideoCheckpoint checkpoint_;
  const Keep keep_;
  std::shared_ptr<Arena> arena_;  // of all of them: one runs at a time
  Kept<ClipImageEncoder> image_encoder_;
  Kept<AutoencoderEncoder> condition_encoder_;
  Kept<VideoUNet> unet_;
  Kept<AutoencoderDecoder> decoder_, half_decoder_;
};

}  // namespace eg4d
