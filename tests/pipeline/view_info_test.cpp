#include "pipeline/view_info.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/image.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"
#include "support/tiny_scene.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

class ViewerDatasetTest : public testing::Test {
 protected:
  ViewerDatasetTest() { test::write_tiny_dataset(dataset_, 2, 2, 20, 10); }
  ViewerDataset views() const { return {folder_ / "model.safetensors", dataset_, info_}; }

  const test::TemporaryFolder folder_;
  const fs::path dataset_ = folder_ / "dataset";
  ModelInfo info_;
};

TEST_F(ViewerDatasetTest, TellsEveryCamera) {
  ViewerDataset views = this->views();
  const auto cameras = nlohmann::json::parse(views.cameras());
  ASSERT_EQ(cameras["splits"].size(), 2u);
  const auto& frame = cameras["splits"][0]["frames"][1];
  EXPECT_EQ(frame["pose"].size(), 12u);
  EXPECT_EQ(frame["width"], 20);
  EXPECT_GT(frame["fov_x"], 0.1);
  EXPECT_EQ(frame["time"], 1);
}

TEST_F(ViewerDatasetTest, GivesPicturesAsTrainingSawThem) {
  ViewerDataset views = this->views();
  const std::optional<std::string> png = views.picture("train", 1);
  ASSERT_TRUE(png);
  const Picture picture = decode_picture(std::as_bytes(std::span(*png)), "it");
  EXPECT_EQ(picture.width, 20);
  EXPECT_EQ(picture.channels, 3);
  EXPECT_FALSE(views.picture("train", 1000));
  EXPECT_FALSE(views.picture("../train", 0));
  EXPECT_FALSE(views.picture("", 0));
}

TEST_F(ViewerDatasetTest, AWordOnWhyThereAreNone) {
  ViewerDataset views(folder_ / "model.safetensors", {}, info_);
  const auto cameras = nlohmann::json::parse(views.cameras());
  EXPECT_TRUE(cameras["splits"].empty());
  EXPECT_TRUE(test::contains(cameras["note"], "it is not known which dataset"));
  EXPECT_FALSE(views.picture("train", 0));
}

// A dataset may come from anywhere: what it names outside of its folder stays unseen.
TEST_F(ViewerDatasetTest, NothingOutsideOfTheFolderIsShown) {
  write_png(folder_ / "secret.png", Picture(20, 10, 3));
  ViewerDataset views = this->views();
  const auto cameras = nlohmann::json::parse(views.cameras());
  const fs::path file = dataset_ / cameras["splits"][0]["frames"][0]["name"].get<std::string>();
  fs::remove(file);
  fs::create_symlink(folder_ / "secret.png", file);
  EXPECT_ERROR(views.picture(cameras["splits"][0]["name"], 0), "lies outside");

  std::string json = test::read_text(dataset_ / "transforms_train.json");
  const size_t place = json.find("\"file_path\":");
  const size_t begin = json.find('"', place + 12), end = json.find('"', begin + 1);
  json.replace(begin + 1, end - begin - 1, "../secret");
  test::write_text(dataset_ / "transforms_train.json", json);
  ViewerDataset other = this->views();
  EXPECT_ERROR(other.picture("train", 0), "lies outside");
}

TEST(ViewerInfo, IsJsonWhateverTheNames) {
  ModelInfo info;
  info.provenance = {{"preset", "fast"}};
  const auto json =
      nlohmann::json::parse(viewer_info(info, "/runs/a\"b\xff/", "/runs/x/refined/model.safetensors",
                                        {.served = true, .token_reads = false, .live = true}));
  EXPECT_EQ(json["stage"], "refined");
  EXPECT_EQ(json["preset"], "fast");
  EXPECT_TRUE(test::contains(json["title"], "a\"b"));
}

}  // namespace
}  // namespace eg4d
