#include "support/tiny_clip.h"

#include <deque>

#include "io/safetensors.h"
#include "support/network_fixture.h"

namespace eg4d::test {
namespace {

const std::string kTower = "conditioner.embedders.0.open_clip.model.visual.";
const std::pair<const char*, const char*> kNames[] = {
    {"class_embedding", "vision_model.embeddings.class_embedding"},
    {"conv1.weight", "vision_model.embeddings.patch_embedding.weight"},
    {"positional_embedding", "vision_model.embeddings.position_embedding.weight"},
    {"ln_pre.", "vision_model.pre_layrnorm."},
    {"ln_post.", "vision_model.post_layernorm."},
    {"transformer.resblocks.", "vision_model.encoder.layers."}};
const std::pair<const char*, const char*> kBlockNames[] = {{".ln_1.", ".layer_norm1."},
                                                           {".ln_2.", ".layer_norm2."},
                                                           {".attn.out_proj.", ".self_attn.out_proj."},
                                                           {".mlp.c_fc.", ".mlp.fc1."},
                                                           {".mlp.c_proj.", ".mlp.fc2."}};

std::string renamed(std::string name) {
  for (const auto& [from, to] : kNames)
    if (name.starts_with(from)) name = to + name.substr(std::string(from).size());
  for (const auto& [from, to] : kBlockNames)
    if (const size_t at = name.find(from); at != std::string::npos)
      name.replace(at, std::string(from).size(), to);
  return name;
}

}  // namespace

void write_tiny_clip(const std::filesystem::path& path) {
  const WeightMap weights = golden_weights("openclip_vit");
  std::vector<SafetensorsTensor> tensors;
  std::deque<std::vector<float>> values;
  const auto add = [&](const std::string& name, const Shape& shape, std::vector<float> numbers) {
    values.push_back(std::move(numbers));
    tensors.push_back({name, DType::f32, shape, values.back().data()});
  };
  for (const auto& [full, item] : weights.items()) {
    if (!full.starts_with(kTower)) continue;
    const std::string name = full.substr(kTower.size());
    const std::vector<float> numbers = weights.floats(full);
    if (name == "proj") {
      const auto rows = static_cast<size_t>(item.shape[0]), columns = static_cast<size_t>(item.shape[1]);
      std::vector<float> transposed(numbers.size());
      for (size_t i = 0; i < numbers.size(); ++i) transposed[i % columns * rows + i / columns] = numbers[i];
      add("visual_projection.weight", {item.shape[1], item.shape[0]}, transposed);
    } else if (const size_t at = name.find(".attn.in_proj_"); at != std::string::npos) {
      const std::string kind = name.ends_with("weight") ? "weight" : "bias";
      Shape shape = item.shape;
      shape[0] /= 3;
      const auto third = static_cast<int64_t>(numbers.size() / 3);
      for (int64_t part = 0; const char* which : {"q", "k", "v"}) {
        add(renamed(name.substr(0, at)) + ".self_attn." + which + "_proj." + kind, shape,
            {numbers.begin() + part * third, numbers.begin() + (part + 1) * third});
        ++part;
      }
    } else {
      add(renamed(name), item.shape, numbers);
    }
  }
  add("text_model.final_layer_norm.weight", {2}, {1, 1});
  const int64_t ids[] = {0, 1, 2};
  tensors.push_back({"vision_model.embeddings.position_ids", DType::i64, {1, 3}, ids});
  write_safetensors(path, tensors, {{"clip_head_channels", "16"}});
}

}  // namespace eg4d::test
