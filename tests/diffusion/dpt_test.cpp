// DPT-Hybrid against PyTorch, files of the real size (sparse: zeros that take no room) against the
// architecture, and small networks.
//
// tests/data/dpt: a small network with weights by the integer hash under the names and with the config.json
// of Hugging Face's transformers 5.17, and what make_dpt_fixture.py computes with it. manifests/dpt_hybrid:
// the tensors of Intel/dpt-hybrid-midas.

#include "diffusion/dpt.h"

#include <gtest/gtest.h>

#include <cmath>

#include "diffusion/depth.h"
#include "diffusion/image_config.h"
#include "io/torch_checkpoint.h"
#include "pipeline/model_catalog.h"
#include "support/device_fixture.h"
#include "support/dpt_manifest.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/hashed_weights.h"
#include "support/network_fixture.h"
#include "support/places.h"
#include "support/random_values.h"
#include "support/temporary_folder.h"

namespace eg4d::test {
namespace {

const std::filesystem::path kData = test_data() / "dpt";

// Everything that the file tells about one input.
void expect_as_stored(const SafetensorsFile& io, const std::string& name) {
  const TemporaryFolder folder;
  copy_model_folder(kData, folder.path());
  auto backend = make_test_backend({.guard_memory = true});
  DptHybrid network(*backend, read_dpt_weights(folder.path()), read_dpt_options(folder.path()));
  int compared = 0;
  const auto compare = [&](const std::string& part, const Tensor& value, double tolerance) {
    const std::string stored = name + "." + part;
    ++compared;
    EXPECT_LE(relative_error(values_like(value, io.at(stored).shape), io.floats(stored)), tolerance)
        << stored;
  };
  const Tensor depth =
      network.forward(channels_last(*backend, io, name + ".input"),
                      [&](const std::string& part, const Tensor& value) { compare(part, value, 2e-5); });
  compare("depth", depth, 1e-4);  // few of its numbers are above zero
  EXPECT_EQ(compared, 5);
}

EG4D_DEVICE_SUITE(DptHybridTest);

TEST_P(DptHybridTest, ComputesWhatPyTorchDoes) {
  const SafetensorsFile io = stored_tensors(kData / "io.safetensors");
  expect_as_stored(io, "square");
  expect_as_stored(io, "wide");
}

TEST(DptHybrid, TheWrittenDownManifestIsThePublishedOne) {
  EXPECT_EQ(dpt_manifest(), read_manifest("dpt_hybrid"));
}

std::string error_for(const Manifest& manifest) {
  const TemporaryFolder folder;
  write_sparse_safetensors(folder / "dpt.safetensors", manifest);
  return error_of([&] { read_dpt_weights(folder / "dpt.safetensors"); });
}

TEST(DptHybrid, PublishedFileFits) {
  const TemporaryFolder folder;
  const Manifest manifest = dpt_manifest();
  int64_t parameters = 0;
  for (const auto& [name, shape] : manifest) parameters += element_count(shape);
  EXPECT_EQ(parameters, find_model_entry("dpt_hybrid_midas").parameters);
  write_sparse_safetensors(folder / "model.safetensors", manifest, "F32");
  EXPECT_NO_THROW(read_dpt_weights(folder.path()));
  EXPECT_NO_THROW(read_dpt_weights(folder / "model.safetensors"));
}

TEST(DptHybrid, MissingMisshapenAndSurplusTensorsAreNamed) {
  const Manifest manifest = dpt_manifest();
  size_t index = 0;
  for (const auto& [name, shape] : manifest) {
    if (index++ % 17 != 0) continue;
    Manifest changed = manifest;
    changed.erase(name);
    std::string error = error_for(changed);
    EXPECT_TRUE(contains(error, "'" + name + "'")) << name << ": " << error;
    changed[name] = shape;
    ++changed[name].back();
    error = error_for(changed);
    EXPECT_TRUE(contains(error, "'" + name + "'")) << name << ": " << error;
  }
  for (const std::string name : {"dpt.pooler.dense.weight", "neck.convs.0.bias", "head.head.1.weight"}) {
    Manifest changed = manifest;
    changed[name] = {4};
    EXPECT_TRUE(contains(error_for(changed), "'" + name + "' is surplus"));
  }
}

TEST(DptHybrid, OtherNetworksAreRefused) {
  EXPECT_TRUE(contains(error_for({{"x", {4}}}), "is not DPT-Hybrid"));
  const TemporaryFolder folder;
  EXPECT_ERROR(read_dpt_weights(folder.path()), "has no 'model.safetensors' or 'pytorch_model.bin'");
  EXPECT_ERROR(read_dpt_weights(folder / "none.bin"), "none.bin");
  write_tiny_depth_model(folder.path());
  auto backend = make_test_backend();
  const auto expect = [&](const std::string& config, const std::string& complaint) {
    write_text(folder / "config.json", "{\"model_type\": \"dpt\", " + config + "}");
    EXPECT_ERROR(DepthEstimator(*backend, folder.path()), complaint);
  };
  expect("\"is_hybrid\": false", "only DPT-Hybrid is built");
  expect("\"backbone_out_indices\": [2, 5, 8, 11]", "has 2 blocks, of which numbers 8 and 11");
  expect("\"num_attention_heads\": 5, \"backbone_out_indices\": [0, 0, 0, 1]", "5 attention heads");
}

class TinyDepth : public OnEachDevice {
 protected:
  TinyDepth() { write_tiny_depth_model(folder_.path()); }
  TemporaryFolder folder_;
  std::unique_ptr<Backend> backend_ = make_test_backend({.guard_memory = true});
};

TEST_P(TinyDepth, DepthMapsHaveThePicturesSizeAndTheWholeRange) {
  DepthEstimator depth(*backend_, folder_.path());
  Picture picture(50, 31, 3);
  for (size_t i = 0; i < picture.data.size(); ++i) picture.data[i] = static_cast<uint8_t>(i * i % 253);
  std::vector<float> map;
  EXPECT_TRUE(same_bits_for_any_thread_count([&] { return map = depth.depth_map(picture, 70, 40); }));
  ASSERT_EQ(map.size(), 70u * 40);
  EXPECT_EQ(*std::min_element(map.begin(), map.end()), 0);
  EXPECT_EQ(*std::max_element(map.begin(), map.end()), 1);
  for (const float value : map) EXPECT_EQ(value * 255, std::round(value * 255));
  EXPECT_EQ(depth.depth_map(Picture(1, 1, 1), 1, 1), std::vector<float>{0});
}

// As pytorch_model.bin, which is how it was published first.
TEST_P(TinyDepth, PyTorchFilesGiveTheSame) {
  const WeightMap weights = read_weights(folder_ / "model.safetensors");
  TorchValue::Dict dict;
  for (const auto& [name, item] : weights.items())
    dict.entries.emplace_back(name, TorchTensor::from<float>(item.shape, weights.floats(name)));
  const TemporaryFolder other;
  write_torch_checkpoint(other / "pytorch_model.bin", dict);
  std::filesystem::copy(folder_ / "config.json", other / "config.json");
  Picture picture(40, 30, 3);
  for (size_t i = 0; i < picture.data.size(); ++i) picture.data[i] = static_cast<uint8_t>(i * 11 % 241);
  const auto map_of = [&](const std::filesystem::path& path) {
    return DepthEstimator(*backend_, path).depth_map(picture, 40, 30);
  };
  EXPECT_EQ(map_of(other.path()), map_of(folder_.path()));
  EXPECT_EQ(map_of(other / "pytorch_model.bin"), map_of(folder_.path()));
}

TEST_P(TinyDepth, OtherGridsAndBatchesRun) {
  DptHybrid network(*backend_, read_dpt_weights(folder_.path()), {.heads = 2, .taps = {0, 1}});
  EXPECT_EQ(network.picture_size(), 64);
  const std::vector<float> x = hash_tensor(1, 2 * 96 * 32 * 3, 2);
  const Tensor both = network.forward(Tensor::from_host<float>(*backend_, {2, 96, 32, 3}, x));
  EXPECT_EQ(both.shape(), (Shape{2, 96, 32, 1}));
  const std::vector<float> values = both.to_host(), second_input(x.begin() + 96 * 32 * 3, x.end());
  const Tensor second = network.forward(Tensor::from_host<float>(*backend_, {1, 96, 32, 3}, second_input));
  EXPECT_LE(relative_error(second.to_host(), std::vector<float>(values.begin() + 96 * 32, values.end())),
            1e-5);
  EXPECT_ERROR(network.forward(Tensor::zeros(*backend_, {1, 64, 48, 3})), "multiples of 32");
  EXPECT_ERROR(network.forward(Tensor::zeros(*backend_, {0, 64, 64, 3})), "takes pictures");
}

EG4D_ON_EACH_DEVICE(TinyDepth);

}  // namespace
}  // namespace eg4d::test
