#include "support/dpt_manifest.h"

#include <fmt/format.h>

#include <cmath>
#include <deque>

#include "io/safetensors.h"
#include "support/golden.h"
#include "support/temporary_folder.h"

namespace eg4d::test {
namespace {

class Writer {
 public:
  void convolution(const std::string& name, int64_t in, int64_t out, int64_t kernel, bool bias = true) {
    manifest[name + ".weight"] = {out, in, kernel, kernel};
    if (bias) manifest[name + ".bias"] = {out};
  }
  void linear(const std::string& name, int64_t in, int64_t out) {
    manifest[name + ".weight"] = {out, in};
    manifest[name + ".bias"] = {out};
  }
  void norm(const std::string& name, int64_t width) {
    manifest[name + ".weight"] = manifest[name + ".bias"] = {width};
  }
  void unit(const std::string& block, const std::string& convolution_name, const std::string& norm_name,
            int64_t in, int64_t out, int64_t kernel) {
    convolution(block + convolution_name, in, out, kernel, false);
    norm(block + norm_name, out);
  }
  Manifest manifest;
};

void add_backbone(Writer& w, const DptSizes& sizes) {
  const std::string root = "dpt.embeddings.backbone.bit.";
  w.unit(root, "embedder.convolution", "embedder.norm", 3, sizes.stem, 7);
  int64_t in = sizes.stem;
  for (size_t stage = 0; stage < sizes.stages.size(); ++stage) {
    const auto [middle, out, blocks] = sizes.stages[stage];
    for (int64_t i = 0; i < blocks; ++i) {
      const std::string block = fmt::format("{}encoder.stages.{}.layers.{}.", root, stage, i);
      w.unit(block, "conv1", "norm1", in, middle, 1);
      w.unit(block, "conv2", "norm2", middle, middle, 3);
      w.unit(block, "conv3", "norm3", middle, out, 1);
      if (i == 0) w.unit(block, "downsample.conv", "downsample.norm", in, out, 1);
      in = out;
    }
  }
}

void add_transformer(Writer& w, const DptSizes& sizes) {
  const int64_t width = sizes.width;
  w.convolution("dpt.embeddings.projection", sizes.stages.back().out, width, 1);
  w.manifest["dpt.embeddings.cls_token"] = {1, 1, width};
  w.manifest["dpt.embeddings.position_embeddings"] = {1, sizes.grid * sizes.grid + 1, width};
  for (int64_t i = 0; i < sizes.blocks; ++i) {
    const std::string block = fmt::format("dpt.encoder.layer.{}.", i);
    w.norm(block + "layernorm_before", width);
    w.norm(block + "layernorm_after", width);
    for (const char* name : {"attention.attention.query", "attention.attention.key",
                             "attention.attention.value", "attention.output.dense"})
      w.linear(block + name, width, width);
    w.linear(block + "intermediate.dense", width, sizes.inner);
    w.linear(block + "output.dense", sizes.inner, width);
  }
  w.norm("dpt.layernorm", width);
}

}  // namespace

Manifest dpt_manifest(const DptSizes& sizes) {
  Writer w;
  add_backbone(w, sizes);
  add_transformer(w, sizes);
  for (size_t i = 0; i < 2; ++i) {
    w.linear(fmt::format("neck.reassemble_stage.readout_projects.{}.0", 2 + i), 2 * sizes.width, sizes.width);
    w.convolution(fmt::format("neck.reassemble_stage.layers.{}.projection", 2 + i), sizes.width,
                  sizes.reassembled[i], 1);
  }
  w.convolution("neck.reassemble_stage.layers.3.resize", sizes.reassembled[1], sizes.reassembled[1], 3);
  const std::array<int64_t, 4> channels = {sizes.stages[0].out, sizes.stages[1].out, sizes.reassembled[0],
                                           sizes.reassembled[1]};
  for (size_t i = 0; i < channels.size(); ++i) {
    w.convolution(fmt::format("neck.convs.{}", i), channels[i], sizes.fusion, 3, false);
    const std::string fusion = fmt::format("neck.fusion_stage.layers.{}.", i);
    w.convolution(fusion + "projection", sizes.fusion, sizes.fusion, 1);
    for (const char* layer : {"residual_layer1.convolution1", "residual_layer1.convolution2",
                              "residual_layer2.convolution1", "residual_layer2.convolution2"})
      w.convolution(fusion + layer, sizes.fusion, sizes.fusion, 3);
  }
  w.convolution("head.head.0", sizes.fusion, sizes.head_first, 3);
  w.convolution("head.head.2", sizes.head_first, sizes.head_second, 3);
  w.convolution("head.head.4", sizes.head_second, 1, 1);
  return w.manifest;
}

void write_tiny_depth_model(const std::filesystem::path& folder) {
  DptSizes sizes;
  sizes.stem = 32;
  sizes.stages = {DptSizes::Stage{32, 32, 1}, DptSizes::Stage{32, 64, 1}, DptSizes::Stage{32, 64, 2}};
  sizes.width = 32;
  sizes.inner = 48;
  sizes.grid = 4;
  sizes.blocks = 2;
  sizes.reassembled = {24, 32};
  sizes.fusion = 16;
  sizes.head_first = 8;
  sizes.head_second = 4;
  std::deque<std::vector<float>> values;
  std::vector<SafetensorsTensor> tensors;
  uint32_t id = 1;
  for (const auto& [name, shape] : dpt_manifest(sizes)) {
    const auto count = static_cast<size_t>(element_count(shape));
    const bool vector = shape.size() == 1;
    const float spread =
        vector
            ? 0.2f
            : static_cast<float>(4 / std::sqrt(static_cast<double>(count) / static_cast<double>(shape[0])));
    // Norms are near one, and so are biases: what reaches the last ReLU is above zero.
    values.push_back(hash_tensor(id++, count, spread, vector ? 1.0f : 0.0f));
    tensors.push_back({name, DType::f32, shape, values.back().data()});
  }
  std::filesystem::create_directories(folder);
  write_safetensors(folder / "model.safetensors", tensors);
  write_text(folder / "config.json",
             "{\"model_type\": \"dpt\", \"is_hybrid\": true, \"num_attention_heads\": 2, "
             "\"backbone_out_indices\": [0, 0, 0, 1]}");
}

}  // namespace eg4d::test
