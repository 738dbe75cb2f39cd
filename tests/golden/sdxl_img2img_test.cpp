// SDXL's networks and image-to-image against sdxl_img2img/: each part from the reference's input to it, then
// the whole from picture to picture.

#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "diffusion/conditioning.h"
#include "diffusion/image_to_image.h"
#include "support/device_fixture.h"
#include "support/golden.h"
#include "support/hashed_weights.h"
#include "support/network_fixture.h"
#include "support/temporary_folder.h"

namespace eg4d::test {
namespace {

constexpr double kTolerance = 1e-4;

// Gives out stored noise instead of drawing.
class StoredNoise : public NormalStream {
 public:
  void add(std::vector<float> values) { stored_.push_back(std::move(values)); }
  void draw(std::span<float> values) override {
    const std::vector<float>& next = stored_.at(drawn_++);
    ASSERT_EQ(next.size(), values.size());
    std::copy(next.begin(), next.end(), values.begin());
  }

 private:
  std::vector<std::vector<float>> stored_;
  size_t drawn_ = 0;
};

class SdxlImageToImage : public OnEachDevice {
 protected:
  void SetUp() override {
    if (!golden_has_fixture("sdxl_img2img/io.safetensors")) GTEST_SKIP() << "no sdxl_img2img fixture";
    copy_pipeline(golden_folder() / "sdxl_img2img", folder_.path());
    config_ = golden_json("sdxl_img2img/config.json");
    io_ = std::make_unique<SafetensorsFile>(golden_tensors("sdxl_img2img/io.safetensors"));
    checkpoint_ = std::make_unique<ImageCheckpoint>(folder_.path());
    backend_ = make_test_backend();
  }
  // What a set does not have is passed over; that a test compared something at all is checked for all of
  // them.
  void expect_close(const std::vector<float>& values, const std::string& name) {
    if (!io_->contains(name)) return;
    EXPECT_LE(relative_error(values, io_->floats(name)), kTolerance) << name;
  }
  void expect_like(const Tensor& value, const std::string& name) {
    if (io_->contains(name)) expect_close(values_like(value, io_->at(name).shape), name);
  }
  // The bytes of [1,77] whole numbers.
  ClipTokenizer::Row row(const std::string& name) const {
    const SafetensorsFile::Entry& entry = io_->at(name);
    ClipTokenizer::Row ids{};
    for (size_t i = 0; i < ids.size() && (i + 1) * sizeof(int64_t) <= entry.bytes; ++i) {
      int64_t id = 0;
      std::memcpy(&id, entry.data + i * sizeof id, sizeof id);
      ids[i] = static_cast<int32_t>(id);
    }
    return ids;
  }
  PromptEmbedding embedding() {
    return embed_tokens(*backend_, *checkpoint_, row("prompt_ids_1"), row("prompt_ids_2"));
  }
  int steps() const { return config_.at("num_inference_steps").get<int>(); }
  Tensor nhwc(const std::string& name) { return channels_last(*backend_, *io_, name); }

  TemporaryFolder folder_;
  nlohmann::json config_;
  std::unique_ptr<SafetensorsFile> io_;
  std::unique_ptr<ImageCheckpoint> checkpoint_;
  std::unique_ptr<Backend> backend_;
};

TEST_P(SdxlImageToImage, TextEncoders) {
  for (const size_t which : {size_t{0}, size_t{1}}) {
    const std::string number = std::to_string(which + 1);
    const auto encoder = checkpoint_->text_encoder(*backend_, which);
    const auto output =
        encoder->encode({row("prompt_ids_" + number)}, [&](const std::string& name, const Tensor& value) {
          expect_like(value, "te" + number + "." + name);
        });
    expect_like(output.hidden, "te" + number + ".hidden_states_penultimate");
    EXPECT_EQ(output.pooled.defined(), which == 1);
    if (output.pooled.defined()) expect_like(output.pooled, "te" + number + ".text_embeds");
  }
  const PromptEmbedding both = embedding();
  expect_close(both.context, "unet.encoder_hidden_states");
  expect_close(both.pooled, "unet.text_embeds");
}

TEST_P(SdxlImageToImage, NoisePrediction) {
  const auto unet = checkpoint_->unet(*backend_);
  std::vector<float> vector = io_->floats("unet.text_embeds");
  const std::vector<float> sizes = io_->floats("unet.time_ids");
  const std::vector<float> sinusoids = sinusoidal_embedding(std::vector<double>(sizes.begin(), sizes.end()),
                                                            static_cast<int>(checkpoint_->size_width()));
  vector.insert(vector.end(), sinusoids.begin(), sinusoids.end());
  const auto conditioning =
      unet->condition(as_stored(*backend_, *io_, "unet.encoder_hidden_states"),
                      Tensor::from_host<float>(*backend_, {1, static_cast<int64_t>(vector.size())}, vector));
  const Tensor x = nhwc("unet.sample_in");
  const Tensor predicted = unet->forward(x, io_->floats("unet.t"), *conditioning);
  expect_like(predicted, "unet.noise_pred");
  // The same memory serves the next call, and the result is the same to the bit.
  const size_t activations = unet->activation_bytes();
  EXPECT_EQ(unet->forward(x, io_->floats("unet.t"), *conditioning).to_host(), predicted.to_host());
  EXPECT_EQ(unet->activation_bytes(), activations);
}

TEST_P(SdxlImageToImage, Autoencoder) {
  const Tensor moments = checkpoint_->encoder(*backend_)->moments(nhwc("vae.image_in"));
  const int64_t channels = moments.dim(3) / 2;
  const std::vector<float> both = moments.to_host();
  std::vector<float> mean, variance;
  for (size_t i = 0; i < both.size(); ++i)
    (static_cast<int64_t>(i) / channels % 2 == 0 ? mean : variance).push_back(both[i]);
  const Shape shape = {1, moments.dim(1), moments.dim(2), channels};
  expect_like(Tensor::from_host<float>(*backend_, shape, mean), "vae.mean");
  expect_like(Tensor::from_host<float>(*backend_, shape, variance), "vae.logvar");
  expect_like(checkpoint_->decoder(*backend_)->decode(nhwc("vae.decode_in"), 1, 1), "vae.decoded");
}

TEST_P(SdxlImageToImage, Sampler) {
  const ImageEulerSampler sampler(checkpoint_->config().schedule, steps());
  expect_close(sampler.timesteps(), "scheduler.timesteps");
  expect_close(sampler.sigmas(), "scheduler.sigmas");
  const int first = sampler.first_step(config_.at("strength").get<double>());
  const auto run = config_.at("timesteps_run").get<std::vector<float>>();
  ASSERT_EQ(static_cast<size_t>(sampler.steps() - first), run.size());
  EXPECT_EQ(sampler.timesteps().at(static_cast<size_t>(first)), run.at(0));
  if (run.size() != 1) return;  // the fixture has the tensors of one step
  const Tensor latent = nhwc("step.in_latents"), input = Tensor::empty(*backend_, latent.shape());
  NoisyLatents scaled = sampler.network_input(first, latent);
  scaled.y = input.array();
  backend_->run(scaled);
  expect_like(input, "unet.sample_in");
  sampler.advance(first, nhwc("unet.noise_pred"), nhwc("noise.2.ancestral_step"), latent);
  expect_like(latent, "step.prev_sample");
}

TEST_P(SdxlImageToImage, PictureToPicture) {
  ImageToImage refiner(*backend_, *checkpoint_);
  refiner.set_prompt(embedding(), embed_no_prompt(*backend_, *checkpoint_));
  StoredNoise noise;
  std::map<int, std::string> draws;  // "noise.0.vae_sample", …
  for (const auto& [name, entry] : io_->entries())
    if (name.starts_with("noise.")) draws[std::stoi(name.substr(6))] = name;
  for (const auto& [number, name] : draws) noise.add(io_->floats(name));
  const Tensor picture = nhwc("image");
  const ImageToImage::Options options{.steps = steps(),
                                      .strength = config_.at("strength").get<double>(),
                                      .guidance = config_.at("guidance_scale").get<double>()};
  const std::vector<float> refined =
      refiner.refine(picture.to_host(), picture.dim(1), picture.dim(2), options, noise);
  expect_like(Tensor::from_host<float>(*backend_, picture.shape(), refined), "image_out");
}

INSTANTIATE_TEST_SUITE_P(, SdxlImageToImage, testing::ValuesIn(test_devices_by_memory()), DeviceLabel());

}  // namespace
}  // namespace eg4d::test
