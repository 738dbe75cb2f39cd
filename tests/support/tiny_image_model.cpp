#include "support/tiny_image_model.h"

#include <deque>

#include "diffusion/clip_tokenizer.h"
#include "diffusion/diffusers_folder.h"
#include "support/golden.h"
#include "support/tar.h"
#include "support/temporary_folder.h"

namespace eg4d::test {
namespace {

void give_whole_vocabulary(const std::filesystem::path& file) {
  const std::string table = "text_model.embeddings.token_embedding.weight";
  std::deque<std::vector<float>> values;
  std::vector<SafetensorsTensor> tensors;
  {
    const SafetensorsFile stored(file);
    for (const auto& [name, entry] : stored.entries()) {
      Shape shape = entry.shape;
      values.push_back(stored.floats(name));
      if (name == table) {
        shape[0] = ClipTokenizer::kVocabulary;
        values.back() = hash_tensor(1, static_cast<size_t>(element_count(shape)), 2);
      }
      tensors.push_back({name, DType::f32, shape, values.back().data()});
    }
  }
  write_safetensors(file, tensors);
}

}  // namespace

void write_tiny_image_model(const std::filesystem::path& folder) {
  unpack_tar(std::filesystem::path(EG4D_TEST_DATA) / "golden/sdxl_img2img/pipeline.tar", folder);
  for (const char* encoder : {"text_encoder", "text_encoder_2"})
    give_whole_vocabulary(folder / encoder / "model.safetensors");
}

void write_tiny_image_file(const std::filesystem::path& file) {
  const TemporaryFolder folder;
  write_tiny_image_model(folder.path());
  const WeightMap weights = read_diffusers_folder(folder.path(), DiffusersFamily::image);
  std::deque<std::vector<float>> values;
  std::vector<SafetensorsTensor> tensors;
  for (const auto& [name, item] : weights.items()) {
    values.push_back(weights.floats(name));
    tensors.push_back({name, DType::f32, item.shape, values.back().data()});
  }
  write_safetensors(file, tensors, {{"num_head_channels", "16"}, {"clip_head_channels", "16"}});
}

}  // namespace eg4d::test
