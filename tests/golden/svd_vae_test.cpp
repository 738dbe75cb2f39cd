// Autoencoder against svd_vae/: both encoders, the temporal decoder in pieces of frames, the plain decoder.

#include <gtest/gtest.h>

#include "diffusion/vae.h"
#include "support/device_fixture.h"
#include "support/golden.h"
#include "support/network_fixture.h"

namespace eg4d::test {
namespace {

constexpr double kTolerance = 1e-4;

class SvdVae : public OnEachDevice {
 protected:
  void SetUp() override {
    if (!golden_has_fixture("svd_vae/io.safetensors")) GTEST_SKIP() << "no svd_vae fixture";
    io_ = std::make_unique<SafetensorsFile>(golden_tensors("svd_vae/io.safetensors"));
    weights_ = golden_weights("svd_vae");
    config_ = golden_json("svd_vae/config.json");
    backend_ = make_test_backend();
  }
  void expect_like(const Tensor& value, const std::string& name) {
    if (!io_->contains(name)) return;
    EXPECT_LE(relative_error(values_like(value, io_->at(name).shape), io_->floats(name)), kTolerance) << name;
  }
  float latent_scale() const { return config_.value("scale_factor", kSvdLatentScale); }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<SafetensorsFile> io_;
  WeightMap weights_;
  nlohmann::json config_;
};

TEST_P(SvdVae, Encoders) {
  AutoencoderEncoder first(*backend_, weights_, "first_stage_model.");
  const Tensor x = channels_last(*backend_, *io_, "x");
  const Tensor moments = first.moments(x);
  expect_like(moments, "moments");
  expect_like(first.mode(x), "mean");
  if (io_->contains("eps")) {
    const Tensor noise = channels_last(*backend_, *io_, "eps");
    const Tensor sample = Tensor::empty(*backend_, noise.shape());
    backend_->run(SampleMoments{.positions = noise.count() / noise.dim(3),
                                .channels = noise.dim(3),
                                .moments = moments.data(),
                                .noise = noise.data(),
                                .y = sample.data()});
    expect_like(sample, "sample_given_eps");
  }
  for (const std::string prefix : {"conditioner.embedders.3.encoder.", "conditioner.embedders.1.encoder."}) {
    if (!weights_.contains_prefix(prefix)) continue;
    AutoencoderEncoder conditioner(*backend_, weights_, prefix);
    expect_like(conditioner.moments(x), "cond_moments");
    expect_like(conditioner.mode(x), "cond_mode");
  }
}

TEST_P(SvdVae, TemporalDecoder) {
  AutoencoderDecoder decoder(*backend_, weights_, "first_stage_model.");
  EXPECT_TRUE(decoder.temporal());
  const Tensor z = channels_last(*backend_, *io_, "z");
  const Observer observer = [&](const std::string& name, const Tensor& value) {
    expect_like(value, "dec." + name);
  };
  expect_like(decoder.decode(z, z.dim(0), latent_scale(), observer), "decoded_T");
  for (int64_t frames = 1; frames <= z.dim(0); ++frames) {
    const std::string name = "decoded_chunk" + std::to_string(frames);
    if (io_->contains(name)) expect_like(decoder.decode(z, frames, latent_scale()), name);
  }
  expect_like(decoder.decode(z, z.dim(0), 1), "decode_raw_unscaled_T");
}

// SV3D's decoder is the plain one with the same spatial weights.
TEST_P(SvdVae, PlainDecoder) {
  WeightMap plain = weights_;
  for (const auto& [name, item] : weights_.items())
    for (const std::string part : {"time_stack", "time_mix_conv", "mix_factor"})
      if (name.find(part) != std::string::npos) plain.remove(name);
  AutoencoderDecoder decoder(*backend_, plain, "first_stage_model.");
  EXPECT_FALSE(decoder.temporal());
  const Tensor z = channels_last(*backend_, *io_, "z");
  expect_like(decoder.decode(z, 1, latent_scale()), "sv3d_decoded");
  expect_like(decoder.decode(z, z.dim(0), latent_scale()), "sv3d_decoded_all");
}

INSTANTIATE_TEST_SUITE_P(, SvdVae, testing::ValuesIn(test_devices_by_memory()), DeviceLabel());

}  // namespace
}  // namespace eg4d::test
