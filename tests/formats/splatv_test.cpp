#include "formats/splatv.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/half.h"
#include "formats/splat_numbers.h"
#include "support/random_cloud.h"
#include "support/temporary_folder.h"

namespace eg4d::splat {
namespace {

struct Splatv {
  nlohmann::json chunk;
  std::string texture;
  float number(size_t i, size_t word) const {
    return get<float>(std::as_bytes(std::span(texture)), i * 64 + word * 4);
  }
  float half(size_t i, size_t index) const {
    return half_to_float(get<uint16_t>(std::as_bytes(std::span(texture)), i * 64 + index * 2));
  }
  uint8_t byte(size_t i, size_t index) const { return static_cast<uint8_t>(texture[i * 64 + index]); }
};

Splatv read(const std::filesystem::path& path) {
  const std::string file = test::read_text(path);
  const Bytes bytes = std::as_bytes(std::span(file));
  EXPECT_EQ(get<uint32_t>(bytes, 0), 0x674bu);
  const size_t length = get<uint32_t>(bytes, 4);
  const nlohmann::json chunks = nlohmann::json::parse(file.substr(8, length));
  EXPECT_EQ(chunks.size(), 1u);
  return {chunks[0], file.substr(8 + length)};
}

TEST(Splatv, ACubicMotionAndASteadyTurnAreExact) {
  test::TemporaryFolder folder;
  const auto at = [](int frame) {
    GaussianCloud cloud = test::random_cloud(3, 0);
    const float dt = static_cast<float>(frame) / 9 - 0.5f;
    cloud.positions[0] = 1 + 2 * dt - 3 * dt * dt + 4 * dt * dt * dt;
    const float q[] = {0.8f, 0.6f, 0, 0};
    std::copy_n(q, 4, &cloud.quaternions[0]);
    return cloud;
  };
  EXPECT_LT(write_splatv(folder / "a.splatv", {.frames = 10, .at = at}), 1e-5);
  const Splatv file = read(folder / "a.splatv");
  EXPECT_EQ(file.chunk["type"], "splat");
  EXPECT_EQ(file.chunk["texwidth"], 4096);
  EXPECT_EQ(file.chunk["texheight"], 1);
  EXPECT_EQ(file.chunk["size"], file.texture.size());
  EXPECT_EQ(file.texture.size(), 4096u * 16);
  EXPECT_EQ(file.chunk["cameras"][0]["rotation"].size(), 3u);

  size_t i = 0;  // the moving one, in Morton order
  while (std::abs(file.number(i, 0) - 1) > 1e-4f) ASSERT_LT(++i, 3u);
  const GaussianCloud cloud = at(0);
  EXPECT_FLOAT_EQ(file.number(i, 1), cloud.positions[1]);
  EXPECT_NEAR(file.half(i, 16), 2, 2e-3);
  EXPECT_NEAR(file.half(i, 19), -3, 2e-3);
  EXPECT_NEAR(file.half(i, 22), 4, 4e-3);
  EXPECT_NEAR(file.half(i, 17), 0, 1e-4);
  EXPECT_NEAR(file.half(i, 6), 0.8, 1e-3);
  EXPECT_NEAR(file.half(i, 7), 0.6, 1e-3);
  EXPECT_NEAR(file.half(i, 26), 0, 1e-4);
  EXPECT_NEAR(file.half(i, 10), std::exp(cloud.log_scales[0]), 1e-4);
  EXPECT_NEAR(file.byte(i, 28), 255 * std::clamp(0.5f + kSh0 * cloud.sh_dc[0], 0.f, 1.f), 0.51);
  EXPECT_NEAR(file.byte(i, 31), 255 * sigmoid(cloud.opacity_logits[0]), 0.51);
  EXPECT_EQ(file.half(i, 30), 0.5f);
  EXPECT_EQ(std::exp(-std::pow(0.5f / file.half(i, 31), 2.f)), 1.f) << "it is there at all times";
}

TEST(Splatv, FewFramesAndMuchMotion) {
  test::TemporaryFolder folder;
  for (const int frames : {1, 2, 3, 4}) {
    const auto at = [](int frame) {
      GaussianCloud cloud = test::random_cloud(1100, 0);
      cloud.positions[0] += static_cast<float>(frame % 2);
      for (float& component : cloud.quaternions) component = frame % 2 ? -component : component;
      return cloud;
    };
    EXPECT_LT(write_splatv(folder / "a.splatv", {.frames = frames, .at = at}), 1e-5)
        << "as many terms as frames";
    const Splatv file = read(folder / "a.splatv");
    EXPECT_EQ(file.chunk["texheight"], 2);
    for (size_t i = 0; i < 1100; ++i)
      for (size_t k = 26; k < 30; ++k) EXPECT_NEAR(file.half(i, k), 0, 1e-3) << "q and -q are one rotation";
  }
  const auto zigzag = [](int frame) {
    GaussianCloud cloud = test::random_cloud(1, 0);
    cloud.positions[0] += static_cast<float>(frame % 2);
    return cloud;
  };
  EXPECT_GT(write_splatv(folder / "a.splatv", {.frames = 20, .at = zigzag}), 0.2) << "what is lost is told";
}

}  // namespace
}  // namespace eg4d::splat
