// The spatio-temporal UNet against svd_unet/: output and every intermediate that the network makes under that
// name.

#include <gtest/gtest.h>

#include "diffusion/video_unet.h"
#include "support/device_fixture.h"
#include "support/golden.h"
#include "support/network_fixture.h"

namespace eg4d::test {
namespace {

constexpr double kTolerance = 1e-4;

class SvdUNet : public OnEachDevice {};

TEST_P(SvdUNet, OutputAndIntermediates) {
  if (!golden_has_fixture("svd_unet/io.safetensors")) GTEST_SKIP() << "no svd_unet fixture";
  const nlohmann::json config = golden_json("svd_unet/config.json");
  const SafetensorsFile io = golden_tensors("svd_unet/io.safetensors");
  auto backend = make_test_backend();
  const WeightMap weights = golden_weights("svd_unet");
  VideoUNet network(*backend, weights, config.value("key_prefix", "model.diffusion_model."),
                    {.head_channels = config.at("network_config").at("num_head_channels").get<int64_t>()});

  const Tensor x = channels_last(*backend, io, "x");
  const std::vector<float> timesteps = io.floats("timesteps");
  const auto conditioning =
      network.condition(as_stored(*backend, io, "context"), as_stored(*backend, io, "y"),
                        config.at("num_video_frames").get<int64_t>());
  size_t compared = 0;
  const Observer observer = [&](const std::string& name, const Tensor& value) {
    for (const std::string prefix : {"inter.", "inter.detail."}) {
      if (!io.contains(prefix + name)) continue;
      ++compared;
      EXPECT_LE(relative_error(values_like(value, io.at(prefix + name).shape), io.floats(prefix + name)),
                kTolerance)
          << name;
    }
  };
  const Tensor output = network.forward(x, timesteps, *conditioning, observer);
  EXPECT_LE(relative_error(values_like(output, io.at("output").shape), io.floats("output")), kTolerance);
  const bool has_intermediates = io.contains("inter.middle_block");
  EXPECT_TRUE(compared > 10 || !has_intermediates) << compared;
  EXPECT_GT(network.activation_bytes(), 0u);

  // The same memory serves the next call, and the result is the same to the bit.
  const size_t activations = network.activation_bytes();
  EXPECT_EQ(network.forward(x, timesteps, *conditioning).to_host(), output.to_host());
  EXPECT_EQ(network.activation_bytes(), activations);
}

INSTANTIATE_TEST_SUITE_P(, SvdUNet, testing::ValuesIn(test_devices_by_memory()), DeviceLabel());

}  // namespace
}  // namespace eg4d::test
