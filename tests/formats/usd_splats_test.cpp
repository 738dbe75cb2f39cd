#include "formats/usd_splats.h"

#include <gtest/gtest.h>

#include "core/version.h"
#include "support/random_cloud.h"
#include "support/temporary_folder.h"

namespace eg4d::splat {
namespace {

GaussianCloud one(float x) {
  GaussianCloud cloud(1);
  cloud.positions = {x, 2, -0.5f};
  cloud.sh_dc = {0.25f, 0, 1};
  cloud.quaternions = {0, 2, 0, 0};
  return cloud;
}

TEST(UsdSplats, TheTextOfATinySequence) {
  test::TemporaryFolder folder;
  write_usd_splats(folder / "a.usda",
                   {.frames = 3, .fps = 12.5, .at = [](int frame) { return one(frame == 2 ? 3 : 1); }}, 'Y');
  const std::string expected = std::string("#usda 1.0\n(\n    defaultPrim = \"Object\"\n") +
                               "    doc = \"written by eg4d " + kVersion +
                               "\"\n"
                               R"(    startTimeCode = 0
    endTimeCode = 2
    timeCodesPerSecond = 12.5
    framesPerSecond = 12.5
    metersPerUnit = 1
    upAxis = "Y"
)

def ParticleField3DGaussianSplat "Object"
{
    uniform token sortingModeHint = "zDepth"
    uniform int radiance:sphericalHarmonicsDegree = 0
    float3[] extent.timeSamples = {
        0: [(-2, -1, -3.5), (4, 5, 2.5)],
        1: [(-2, -1, -3.5), (4, 5, 2.5)],
        2: [(0, -1, -3.5), (6, 5, 2.5)],
    }
    point3f[] positions.timeSamples = {
        0: [(1, 2, -0.5)],
        1: [(1, 2, -0.5)],
        2: [(3, 2, -0.5)],
    }
    quatf[] orientations = [(0, 1, 0, 0)]
    float3[] scales = [(1, 1, 1)]
    float[] opacities = [0.5]
    float3[] radiance:sphericalHarmonicsCoefficients = [(0.25, 0, 1)]
}
)";
  EXPECT_EQ(test::read_text(folder / "a.usda"), expected);
}

TEST(UsdSplats, HarmonicsOfAGaussianLieTogether) {
  test::TemporaryFolder folder;
  GaussianCloud cloud = test::random_cloud(2, 1);
  for (size_t i = 0; i < 90; ++i) cloud.sh_rest[i] = i % 45 < 9 ? static_cast<float>(i) + 0.5f : 0;
  cloud.sh_dc = {1, 2, 3, 4, 5, 6};
  write_usd_splats(folder / "a.usda", {.frames = 1, .at = [&](int) { return cloud; }}, 'Z');
  const std::string text = test::read_text(folder / "a.usda");
  EXPECT_NE(text.find("upAxis = \"Z\""), text.npos);
  EXPECT_NE(text.find("Degree = 1\n"), text.npos);
  EXPECT_NE(text.find("Coefficients = [(1, 2, 3), (0.5, 1.5, 2.5), (3.5, 4.5, 5.5), (6.5, 7.5, 8.5), "
                      "(4, 5, 6), (45.5, 46.5, 47.5), (48.5, 49.5, 50.5), (51.5, 52.5, 53.5)]\n"),
            text.npos)
      << text;
}

}  // namespace
}  // namespace eg4d::splat
