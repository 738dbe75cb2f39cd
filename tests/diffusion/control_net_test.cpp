// A ControlNet against PyTorch (tests/data/make_controlnet_fixture.py), and what it must leave alone.

#include "diffusion/control_net.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "diffusion/control_checkpoint.h"
#include "diffusion/image_unet_frame.h"
#include "support/device_fixture.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/hashed_weights.h"
#include "support/network_fixture.h"
#include "support/places.h"
#include "support/random_values.h"
#include "support/temporary_folder.h"
#include "support/tiny_image_model.h"

namespace eg4d::test {
namespace {

const std::filesystem::path kData = test_data() / "controlnet";

class ControlNetTest : public OnEachDevice {
 protected:
  ControlNetTest() {
    write_tiny_image_model(folder_.path());
    unet_ = ImageCheckpoint(folder_.path()).unet(*backend_);
    copy_model_folder(kData, own_.path());
    control_ = ControlNetCheckpoint(own_.path()).network(*backend_);
  }
  Tensor stored(const std::string& name) { return as_stored(*backend_, io_, name); }
  Tensor pictures(const std::string& name) { return channels_last(*backend_, io_, name); }
  UNetResiduals residuals(float scale, const Tensor& hint) {
    return control_->forward(pictures("x"), io_.floats("steps"),
                             *control_->condition(stored("context"), stored("vector")),
                             control_->embed_hint(hint), scale);
  }
  Tensor predict(const UNetResiduals* residuals) {
    return unet_->forward(pictures("x"), io_.floats("steps"),
                          *unet_->condition(stored("context"), stored("vector")), residuals);
  }
  void expect_as_stored(const Tensor& value, const std::string& name) {
    EXPECT_LE(relative_error(values_like(value, io_.at(name).shape), io_.floats(name)), 1e-5) << name;
  }

  TemporaryFolder folder_, own_;
  std::unique_ptr<Backend> backend_ = make_test_backend({.guard_memory = true});
  const SafetensorsFile io_ = stored_tensors(kData / "io.safetensors");
  std::unique_ptr<ImageUNet> unet_;
  std::unique_ptr<ControlNet> control_;
};

TEST_P(ControlNetTest, ComputesWhatPyTorchDoes) {
  const UNetResiduals computed = residuals(0.3f, pictures("hint"));
  ASSERT_EQ(computed.values.skips.size(), 6u);
  for (size_t i = 0; i < computed.values.skips.size(); ++i)
    expect_as_stored(computed.values.skips[i], "residual." + std::to_string(i));
  expect_as_stored(computed.values.middle, "residual.middle");
  expect_as_stored(predict(nullptr), "plain");
  expect_as_stored(predict(&computed), "controlled");
}

TEST_P(ControlNetTest, ScaleZeroAndZeroConvolutionsLeaveThePredictionAsItIs) {
  const std::vector<float> plain = predict(nullptr).to_host();
  const UNetResiduals scaled = residuals(0, pictures("hint"));
  EXPECT_TRUE(same_bits(predict(&scaled).to_host(), plain));
  // As before training.
  const WeightMap weights(own_ / "diffusion_pytorch_model.safetensors");
  TemporaryFolder folder;
  std::vector<SafetensorsTensor> tensors;
  std::vector<std::vector<float>> values;
  values.reserve(weights.items().size());
  for (const auto& [name, item] : weights.items()) {
    values.push_back(weights.floats(name));
    if (name.starts_with("controlnet_down_blocks.") || name.starts_with("controlnet_mid_block."))
      std::fill(values.back().begin(), values.back().end(), 0.0f);
    tensors.push_back({name, DType::f32, item.shape, values.back().data()});
  }
  std::filesystem::copy(kData / "config.json", folder / "config.json");
  write_safetensors(folder / "diffusion_pytorch_model.safetensors", tensors);
  control_ = ControlNetCheckpoint(folder.path()).network(*backend_);
  const UNetResiduals zeros = residuals(1, pictures("hint"));
  EXPECT_TRUE(same_bits(predict(&zeros).to_host(), plain));
}

// As in the published small ones: transformers without blocks, which are a norm and two linear layers.
TEST_P(ControlNetTest, WithoutTransformerBlocksTheTextDoesNotMatter) {
  const WeightMap weights = WeightMap(own_.path() / "diffusion_pytorch_model.safetensors");
  TemporaryFolder folder;
  std::vector<SafetensorsTensor> tensors;
  std::vector<std::vector<float>> values;
  values.reserve(weights.items().size());
  for (const auto& [name, item] : weights.items()) {
    if (name.find(".transformer_blocks.") != std::string::npos) continue;
    values.push_back(weights.floats(name));
    tensors.push_back({name, DType::f32, item.shape, values.back().data()});
  }
  ASSERT_LT(tensors.size(), weights.items().size());
  std::filesystem::copy(own_.path() / "config.json", folder / "config.json");
  write_safetensors(folder / "diffusion_pytorch_model.safetensors", tensors);
  control_ = ControlNetCheckpoint(folder.path()).network(*backend_);
  const Tensor context = stored("context");
  const auto middle = [&](const Tensor& text) {
    return control_
        ->forward(pictures("x"), io_.floats("steps"), *control_->condition(text, stored("vector")),
                  control_->embed_hint(pictures("hint")), 1)
        .values.middle.to_host();
  };
  const std::vector<float> computed = middle(context);
  EXPECT_TRUE(
      std::all_of(computed.begin(), computed.end(), [](float value) { return std::isfinite(value); }));
  EXPECT_TRUE(same_bits(middle(Tensor::zeros(*backend_, context.shape())), computed));
}

TEST_P(ControlNetTest, OneHintServesAllPictures) {
  const Tensor both = pictures("hint");
  const std::vector<float> values = both.to_host();
  std::vector<float> twice(values.begin(), values.begin() + static_cast<long>(values.size() / 2));
  const Tensor one = Tensor::from_host<float>(*backend_, {1, both.dim(1), both.dim(2), 3}, twice);
  twice.insert(twice.end(), twice.begin(), twice.begin() + static_cast<long>(values.size() / 2));
  const UNetResiduals a = residuals(1, one),
                      b = residuals(1, Tensor::from_host<float>(*backend_, both.shape(), twice));
  EXPECT_LE(relative_error(a.values.middle.to_host(), b.values.middle.to_host()), 1e-6);
}

using ControlNetTestOnCpu = ControlNetTest;

TEST_F(ControlNetTestOnCpu, NumberOfThreadsChangesNothing) {
  EXPECT_TRUE(same_bits_for_any_thread_count([&] {
    const UNetResiduals computed = residuals(0.3f, pictures("hint"));
    return predict(&computed).to_host();
  }));
}

TEST_P(ControlNetTest, WrongSizesAreNamed) {
  EXPECT_EQ(control_->hint_multiple(), 4);
  EXPECT_ERROR(control_->embed_hint(Tensor::zeros(*backend_, {1, 8, 9, 3})), "multiples of 4");
  EXPECT_ERROR(control_->embed_hint(Tensor::zeros(*backend_, {0, 8, 8, 3})), "hints [N,H,W,3]");
  EXPECT_ERROR(residuals(1, Tensor::zeros(*backend_, {1, 16, 16, 3})),
               "hint [1,4,4,32] does not fit latents");
  UNetResiduals computed = residuals(1, pictures("hint"));
  computed.values.skips.pop_back();
  EXPECT_ERROR(predict(&computed), "for 5 blocks, the network has 6");
  computed = residuals(1, pictures("hint"));
  computed.values.middle = computed.values.skips[0];
  EXPECT_ERROR(predict(&computed), "a ControlNet's numbers are");
}

EG4D_ON_EACH_DEVICE(ControlNetTest);

}  // namespace
}  // namespace eg4d::test
