#pragma once

// The folder layout in which Hugging Face's diffusers library keeps Stable Video Diffusion: unet/, vae/ and
// image_encoder/, each with its tensors under names of its own.

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "nn/weights.h"

namespace eg4d {

// The names of the two layouts against each other. They are one to one, except that the stacked query, key
// and value weights of the image tower are three tensors in a folder.
class DiffusersNames {
 public:
  // What the names depend on.
  struct Structure {
    int unet_levels = 0,
        unet_blocks = 0;             // residual blocks per level on the way down; one more on the way up
    std::vector<bool> up_attention;  // per level of the way up: a transformer behind each residual block
    int encoder_levels = 0, encoder_blocks = 0;  // of the autoencoder, likewise
    int decoder_levels = 0, decoder_blocks = 0;  // here residual blocks per level
    bool temporal_decoder = true;
    int image_layers = 0;
  };
  static Structure structure_of(const WeightMap& single_file);
  explicit DiffusersNames(const Structure& structure);

  // A tensor in a folder: "unet/…", "vae/…" or "image_encoder/…".
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
  void add_residual(const std::string& single, const std::string& folder);
  void add_transformer(const std::string& single, const std::string& folder);
  void add_autoencoder_block(const std::string& single, const std::string& folder, bool temporal);
  void add_autoencoder_middle(const std::string& single, const std::string& folder, bool temporal);
  void add_unet(const Structure& structure);
  void add_autoencoder(const Structure& structure);
  void add_image_encoder(int layers);

  // Names, or beginnings of names that end with a dot.
  std::map<std::string, std::string> folder_of_, single_of_;
};

// The tensors of a folder under the names of the single-file layout. Throws Error for a missing file or a
// tensor that does not belong there.
WeightMap read_diffusers_folder(const std::filesystem::path& folder);

}  // namespace eg4d
