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
  ClipImageEncoder& image_encoder();
  AutoencoderEncoder& condition_encoder();
  // As network_type understands it.
  VideoUNet& unet(DType precision, FeedForwardProducts feed_forward = FeedForwardProducts::same);
  AutoencoderDecoder& decoder();

  // The networks in memory have done their part.
  void release();

 private:
  std::shared_ptr<Arena> arena();

  Backend& backend_;
  const VideoCheckpoint checkpoint_;
  const Keep keep_;
  std::shared_ptr<Arena> arena_;  // of all of them: one runs at a time
  std::unique_ptr<ClipImageEncoder> image_encoder_;
  std::unique_ptr<AutoencoderEncoder> condition_encoder_;
  std::unique_ptr<VideoUNet> unet_;
  NetworkType unet_type_;
  std::unique_ptr<AutoencoderDecoder> decoder_;
};

}  // namespace eg4d
