// The whole way from a picture to the report with the mini models that come with the program, in miniature.
#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "io/image.h"
#include "io/ply.h"
#include "io/video.h"
#include "pipeline/model_store.h"
#include "support/expect_error.h"
#include "support/places.h"
#include "support/run_program.h"
#include "support/temporary_folder.h"

namespace eg4d::test {
namespace {

namespace fs = std::filesystem;

class MiniModels : public testing::Test {
 protected:
  void SetUp() override {
    EG4D_TEST_NEEDS_VIDEO();
    for (const char* name : {"svd_mini", "sv3d_mini", "sdxl_mini"})
      if (!find_model(find_model_entry(name))) GTEST_SKIP() << name << " is not in models/mini of this tree";
  }

  ProgramResult generate(const std::string& picture) const {
    std::vector<std::string> words = {"generate", picture, "-o", run_, "--preset", "mini"};
    for (const char* setting :
         {"animate.frames=3", "animate.sampler.steps=3", "multiview.sampler.steps=3",
          "reconstruct.schedule.coarse_iterations=30", "reconstruct.schedule.fine_iterations=60",
          "reconstruct.schedule.evaluate_interval=30", "reconstruct.start.count=1500", "refine.iterations=10",
          "orbit.frames=6"})
      words.insert(words.end(), {"--set", setting});
    return run_program(words);
  }
  nlohmann::json metrics(const char* stage) const {
    return nlohmann::json::parse(read_text(run_ / stage / "metrics.json"));
  }

  TemporaryFolder folder_;
  const fs::path run_ = folder_ / "run";
};

// The share of pixels that are not white.
double coverage(const Picture& picture) {
  int64_t inked = 0;
  for (size_t i = 0; i < picture.data.size(); i += 3)
    inked += std::min({picture.data[i], picture.data[i + 1], picture.data[i + 2]}) < 235;
  return static_cast<double>(inked) * 3 / static_cast<double>(picture.data.size());
}

TEST_F(MiniModels, MakeAnObjectOfACreature) {
  const ProgramResult result = generate(examples() / "creature.png");
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_FALSE(contains(result.errors, "warning")) << result.errors;

  // The clip shows about as much of a creature as the picture.
  const double shown = coverage(read_picture(examples() / "creature.png"));
  for (const char* frame : {"video/frame_000.png", "video/frame_002.png"})
    EXPECT_NEAR(coverage(read_picture(run_ / frame)), shown, 0.5 * shown) << frame;
  // So do the views, from a side that the picture does not show, too.
  for (const char* view : {"multiviews/000000/00000006.png", "multiviews/000002/00000021.png"}) {
    const Picture picture = read_picture(run_ / view);
    EXPECT_EQ(picture.width, 128);
    EXPECT_GT(coverage(picture), 0.15 * shown) << view;
    EXPECT_LT(coverage(picture), 2.5 * shown) << view;
  }
  for (const char* stage : {"coarse", "refined"})
    EXPECT_GT(metrics(stage)["splits"]["test"]["psnr"], 12) << stage;
  EXPECT_GT(read_gaussian_ply(run_ / "object.ply").positions.size(), 1000u);
  VideoReader orbit(run_ / "orbit.mp4");
  int frames = 0;
  while (orbit.next()) ++frames;
  EXPECT_EQ(frames, 6);
  EXPECT_GT(coverage(read_picture(run_ / "grid.png")), 0.1 * shown);

  const std::string report = read_text(run_ / "report.html");
  for (const char* part : {"demonstration", "Apache-2.0", "steps", "<svg", "data:video/mp4"})
    EXPECT_TRUE(contains(report, part)) << part;
  EXPECT_FALSE(contains(report, "has a background"));
}

// What the models do not know: a photo, here a noisy scene of an odd size.
TEST_F(MiniModels, SayHonestlyWhatTheyAreWhenGivenAPhoto) {
  Picture photo(643, 421, 3);
  for (int y = 0; y < photo.height; ++y)
    for (int x = 0; x < photo.width; ++x)
      for (int c = 0; c < 3; ++c)
        photo.data[(static_cast<size_t>(y) * photo.width + x) * 3 + c] =
            static_cast<uint8_t>((y * (c + 1) / 4 + x / 5 + (x * 31 + y * 17 + c * 7) % 23) % 200);
  write_jpeg(folder_ / "photo.jpg", photo, 80);
  const ProgramResult result = generate(folder_ / "photo.jpg");
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  for (const char* part : {"has a background, which the mini models have never seen", "squeezed to 128×128"})
    EXPECT_TRUE(contains(result.errors, part)) << result.errors;
  const std::string report = read_text(run_ / "report.html");
  for (const char* part :
       {"<b>demonstration</b>", "This picture has a background", "Without weights for matting"})
    EXPECT_TRUE(contains(report, part)) << part;
}

}  // namespace
}  // namespace eg4d::test
