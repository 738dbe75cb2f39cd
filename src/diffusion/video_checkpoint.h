#pragma once

#include <filesystem>
#include <string>

#include "diffusion/vae.h"
#include "diffusion/video_unet.h"
#include "vision/clip_image.h"

namespace eg4d {

// A checkpoint of Stable Video Diffusion or SV3D: the single file as Stability AI publishes it (svd, svd_xt,
// svd_xt_1_1, their image-decoder variants, sv3d_u, sv3d_p), any small sibling, or SVD in the folder layout
// of diffusers. Opening it compares every tensor's name and shape with the architecture, without reading the
// data; an Error names what is missing, surplus or misshaped.
class VideoCheckpoint {
 public:
  enum class Kind { svd, sv3d_u, sv3d_p };

  // unet: of another file or folder (read_video_unet) in the place of its own, when given.
  explicit VideoCheckpoint(const std::filesystem::path& file_or_folder,
                           const std::filesystem::path& unet = {});

  Kind kind() const { return kind_; }
  const WeightMap& weights() const { return weights_; }

  // The networks; each takes the memory of its weights only while it lives.
  // Those that share an arena must not run at the same time.
  using SharedArena = std::shared_ptr<Arena>;
  std::unique_ptr<VideoUNet> unet(Backend& backend, const NetworkType& type = {},
                                  const SharedArena& arena = {}) const;
  std::unique_ptr<ClipImageEncoder> image_encoder(Backend& backend, const NetworkType& type = {},
                                                  const SharedArena& arena = {}) const;
  // Of the conditioning picture. Its latents are not scaled.
  std::unique_ptr<AutoencoderEncoder> condition_encoder(Backend& backend, const NetworkType& type = {},
                                                        const SharedArena& arena = {}) const;
  std::unique_ptr<AutoencoderDecoder> decoder(Backend& backend, const NetworkType& type = {},
                                              const SharedArena& arena = {}) const;

 private:
  void take_unet(const std::filesystem::path& path);
  void find_kind();
  void check() const;
  std::string condition_prefix() const;

  WeightMap weights_;
  Kind kind_ = Kind::svd;
};

const char* name_of(VideoCheckpoint::Kind kind);  // "svd", "sv3d_u", "sv3d_p"

}  // namespace eg4d
