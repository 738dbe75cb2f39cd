#pragma once

#include <array>
#include <filesystem>
#include <memory>
#include <string>

#include "diffusion/clip_text.h"
#include "diffusion/image_config.h"
#include "diffusion/image_unet.h"
#include "diffusion/vae.h"

namespace eg4d {

// A checkpoint of SDXL or SDXL-Turbo: the single file as Stability AI publishes it (sd_xl_turbo_1.0_fp16), a
// folder in the diffusers layout, or any small sibling; on request with another autoencoder
// (sdxl-vae-fp16-fix). Opening it compares every tensor's name and shape with the architecture, without
// reading the data; an Error names what is missing, surplus or misshaped, or says which other model it is.
class ImageCheckpoint {
 public:
  explicit ImageCheckpoint(const std::filesystem::path& file_or_folder,
                           const std::filesystem::path& autoencoder = {});

  // An autoencoder's file or folder by itself, as the constructor takes it; throws as that does.
  static void check_autoencoder(const std::filesystem::path& file_or_folder);

  const WeightMap& weights() const { return weights_; }
  const ImageModelConfig& config() const { return config_; }

  // The networks; each takes the memory of its weights only while it lives.
  // Those that share an arena must not run at the same time.
  using SharedArena = std::shared_ptr<Arena>;
  std::unique_ptr<ImageUNet> unet(Backend& backend, const NetworkType& type = {},
                                  const SharedArena& arena = {}) const;
  std::unique_ptr<AutoencoderEncoder> encoder(Backend& backend, const NetworkType& type = {},
                                              const SharedArena& arena = {}) const;
  std::unique_ptr<AutoencoderDecoder> decoder(Backend& backend, const NetworkType& type = {},
                                              const SharedArena& arena = {}) const;
  // 0: CLIP-L, 1: OpenCLIP's bigG, whose pooled output is used.
  std::unique_ptr<ClipTextEncoder> text_encoder(Backend& backend, size_t which,
                                                const NetworkType& type = {}) const;

  // Of a text encoder's prompts: the merges of the folder's tokenizer/merges.txt (tokenizer_2/ for the second
  // encoder), CLIP's own where there is none. Throws Error when the encoder's table has another size.
  const ClipTokenizer& tokenizer(size_t which) const;

  int64_t context_width() const;  // of both text encoders side by side: 2048
  int64_t pooled_width() const;   // 1280
  const ImageUNet::Form& unet_form() const { return unet_form_; }
  int64_t pixels_of_a_latent() const;  // on each side: 8
  int64_t size_width() const;          // sinusoids of each of the six numbers of a picture's size: 256

 private:
  void refuse_other_models() const;
  void check();
  void read_tokenizers(const std::filesystem::path& folder);
  int64_t extent(const std::string& name, size_t axis) const;

  WeightMap weights_;
  ImageModelConfig config_;
  ImageUNet::Form unet_form_;
  std::array<std::shared_ptr<const ClipTokenizer>, 2> tokenizers_;  // the folder's own
};

inline constexpr int64_t kSizeNumbers = 6;  // height, width; top, left of the cut; height, width wanted

}  // namespace eg4d
