#include "support/tiny_image_model.h"

#include <deque>

#include "diffusion/clip_tokenizer.h"
#include "diffusion/diffusers_folder.h"
#include "support/golden.h"
#include "support/hashed_weights.h"
#include "support/places.h"
#include "support/temporary_folder.h"

namespace eg4d::test {
namespace {

void give_vocabulary(const std::filesystem::path& file, int64_t size) {
  const std::string table = "text_model.embeddings.token_embedding.weight";
  std::deque<std::vector<float>> values;
  std::vector<SafetensorsTensor> tensors;
  {
    const SafetensorsFile stored(file);
    for (const auto& [name, entry] : stored.entries()) {
      Shape shape = entry.shape;
      values.push_back(stored.floats(name));
      if (name == table) {
        shape[0] = size;
        values.back() = hash_tensor(1, static_cast<size_t>(element_count(shape)), 2);
      }
      tensors.push_back({name, DType::f32, shape, values.back().data()});
    }
  }
  write_safetensors(file, tensors);
}

void write_with_vocabulary(const std::filesystem::path& folder, int64_t size) {
  copy_pipeline(test_data() / "golden/sdxl_img2img", folder);
  for (const char* encoder : {"text_encoder", "text_encoder_2"})
    give_vocabulary(folder / encoder / "model.safetensors", size);
}

}  // namespace

void write_tiny_image_model(const std::filesystem::path& folder) {
  write_with_vocabulary(folder, ClipTokenizer::kVocabulary);
}

void write_tiny_image_model(const std::filesystem::path& folder, const std::string& merges,
                            int64_t vocabulary) {
  write_with_vocabulary(folder, vocabulary);
  for (const char* tokenizer : {"tokenizer", "tokenizer_2"}) {
    std::filesystem::create_directories(folder / tokenizer);
    write_text(folder / tokenizer / "merges.txt", merges);
  }
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
