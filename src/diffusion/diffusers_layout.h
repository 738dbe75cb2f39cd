#pragma once

// The folder layout in which Hugging Face's diffusers library keeps a model: a folder per network, each with
// its tensors under names of its own.

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "nn/weights.h"

namespace eg4d {

enum class DiffusersFamily {
  video,  // Stable Video Diffusion: unet/, vae/, image_encoder/
  image,  // SDXL: unet/, vae/, text_encoder/, text_encoder_2/
};

// The names of the two layouts against each other. They are one to one, except that the stacked query, key
// and value weights of OpenCLIP's towers are three tensors in a folder.
class DiffusersNames {
 public:
  // What the names depend on.
  struct Structure {
    DiffusersFamily family = DiffusersFamily::video;
    int unet_levels = 0,
        unet_blocks = 0;             // residual blocks per level on the way down; one more on the way up
    std::vector<bool> up_attention;  // per level of the way up: a transformer behind each residual block
    int encoder_levels = 0, encoder_blocks = 0;  // of the autoencoder, likewise
    int decoder_levels = 0, decoder_blocks = 0;  // here residual blocks per level
    bool temporal_decoder = false;
    int clip_layers = 0;  // of the image encoder, or of the second text encoder
  };
  static Structure structure_of(const WeightMap& single_file);  // of the video family
  // has_prefix: whether a folder has tensors whose names, with the network before them, begin so.
  using HasPrefix = std::function<bool(const std::string& prefix)>;
  static Structure structure_of_folder(DiffusersFamily family, const HasPrefix& has_prefix);
  explicit DiffusersNames(const Structure& structure);

  // A tensor in a folder: "unet/…", "vae/…", "image_encoder/…", "text_encoder/…" or "text_encoder_2/…".
  struct Place {
    std::string name;  // in the single file
    size_t part = 0;   // 0, 1, 2: query, key, value rows of the stacked tensor
    size_t parts = 1;
    bool transposed = false;  // the folder's matrix is the transpose of the file's
  };
  // Empty for what the folder layout does not have (SVD's first-stage encoder, leftovers of the text tower).
  std::vector<std::string> to_folder(const std::string& single_file_name) const;
  std::optional<Place> to_single_file(const std::string& folder_name) const;

 private:
  void add(const std::string& single, const std::string& folder);
  void add_residual(const std::string& single, const std::string& folder, bool video);
  void add_transformer(const std::string& single, const std::string& folder);
  void add_unet(const Structure& structure);
  void add_autoencoder_block(const std::string& single, const std::string& folder, bool temporal);
  void add_autoencoder_middle(const std::string& single, const std::string& folder, bool temporal);
  void add_autoencoder(const Structure& structure);
  void add_clip_layers(const std::string& single, const std::string& folder, int layers);
  void add_image_encoder(int layers);
  void add_text_encoders(int layers_of_second);

  // Names, or beginnings of names that end with a dot.
  std::map<std::string, std::string> folder_of_, single_of_;
};

}  // namespace eg4d
