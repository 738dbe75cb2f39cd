#include "formats/gltf_splats.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "formats/splat_numbers.h"
#include "support/expect_error.h"
#include "support/random_cloud.h"
#include "support/temporary_folder.h"

namespace eg4d::splat {
namespace {

TEST(GltfSplats, TheFileIsAGlbOfPoints) {
  test::TemporaryFolder folder;
  const GaussianCloud cloud = test::random_cloud(5, 2);
  write_gltf_splats(folder / "a.glb", cloud);
  const std::string file = test::read_text(folder / "a.glb");
  const Bytes bytes = std::as_bytes(std::span(file));
  EXPECT_EQ(file.substr(0, 4), "glTF");
  EXPECT_EQ(get<uint32_t>(bytes, 4), 2u);
  EXPECT_EQ(get<uint32_t>(bytes, 8), file.size());
  const size_t length = get<uint32_t>(bytes, 12);
  EXPECT_EQ(file.substr(16, 4), "JSON");
  EXPECT_EQ(length % 4, 0u);
  EXPECT_EQ(file.substr(20 + length + 4, 4), std::string("BIN\0", 4));
  const size_t binary = 20 + length + 8;
  EXPECT_EQ(get<uint32_t>(bytes, 20 + length), file.size() - binary);

  const nlohmann::json gltf = nlohmann::json::parse(file.substr(20, length));
  EXPECT_EQ(gltf["extensionsUsed"], nlohmann::json::array({"KHR_gaussian_splatting"}));
  const nlohmann::json primitive = gltf["meshes"][0]["primitives"][0];
  EXPECT_EQ(primitive["mode"], 0);
  EXPECT_EQ(primitive["extensions"]["KHR_gaussian_splatting"],
            (nlohmann::json{{"kernel", "ellipse"}, {"colorSpace", "srgb_rec709_display"}}));
  EXPECT_EQ(primitive["attributes"].size(), 6u + 3 + 5);
  const auto values = [&](const std::string& attribute) {
    const nlohmann::json accessor = gltf["accessors"][primitive["attributes"][attribute].get<size_t>()];
    const nlohmann::json view = gltf["bufferViews"][accessor["bufferView"].get<size_t>()];
    EXPECT_EQ(accessor["count"], 5);
    std::vector<float> numbers(view["byteLength"].get<size_t>() / 4);
    std::memcpy(numbers.data(), file.data() + binary + view["byteOffset"].get<size_t>(), numbers.size() * 4);
    return numbers;
  };
  EXPECT_EQ(values("POSITION"), cloud.positions);
  const std::string prefix = "KHR_gaussian_splatting:";
  EXPECT_EQ(values(prefix + "SH_DEGREE_0_COEF_0"), cloud.sh_dc);
  EXPECT_EQ(values(prefix + "SH_DEGREE_2_COEF_4")[3], cloud.sh_rest[45 + 7 * 3]);
  EXPECT_FLOAT_EQ(values(prefix + "SCALE")[4], std::exp(cloud.log_scales[4]));
  EXPECT_FLOAT_EQ(values(prefix + "OPACITY")[2], sigmoid(cloud.opacity_logits[2]));
  EXPECT_FLOAT_EQ(values(prefix + "ROTATION")[3], unit_quaternion(&cloud.quaternions[0])[0])
      << "w is the last";
  EXPECT_FLOAT_EQ(values(prefix + "ROTATION")[0], unit_quaternion(&cloud.quaternions[0])[1]);
  const nlohmann::json position = gltf["accessors"][primitive["attributes"]["POSITION"].get<size_t>()];
  EXPECT_EQ(position["max"][1].get<float>(),
            std::max({cloud.positions[1], cloud.positions[4], cloud.positions[7], cloud.positions[10],
                      cloud.positions[13]}));
  EXPECT_ERROR(write_gltf_splats(folder / "b.glb", GaussianCloud(0)), "no Gaussians");
}

}  // namespace
}  // namespace eg4d::splat
