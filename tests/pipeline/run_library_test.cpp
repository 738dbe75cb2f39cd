#include "pipeline/run_library.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/file_lock.h"
#include "io/image.h"
#include "pipeline/run_summary.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"
#include "support/tiny_scene.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class RunLibraryTest : public testing::Test {
 protected:
  fs::path make_run(const std::string& name) const {
    const fs::path run = folder_ / name;
    fs::create_directories(run / "coarse");
    test::write_text(run / "coarse" / "manifest.json", "{\"finished\":true}");
    test::write_text(run / "coarse" / "metrics.json", R"({"best":{"psnr":30.5},"run":{}})");
    return run;
  }
  std::unique_ptr<RunLibrary> library(std::unique_ptr<JobQueue> jobs = {}) const {
    return std::make_unique<RunLibrary>(
        folder_.path(), ViewedModel(), false, std::move(jobs), "not here",
        std::vector<OfferedPreset>{{"mini", "small", ""}, {"paper", "", "no weights"}});
  }
  static json runs_of(RunLibrary& library) { return json::parse(library.list())["runs"]; }
  static std::string id_of(RunLibrary& library, const std::string& name) {
    for (const json& run : runs_of(library))
      if (run["name"] == name) return run["id"];
    return "";
  }

  const test::TemporaryFolder folder_;
};

TEST_F(RunLibraryTest, ListsTheRunsUnderAFolder) {
  make_run("one");
  make_run("more/two");
  make_run("one/inside");
  make_run("a/b/c/too-deep");
  make_run(".hidden");
  fs::create_directory(folder_ / "empty");
  const test::TemporaryFolder elsewhere;
  fs::create_directories(elsewhere / "coarse");
  test::write_text(elsewhere / "coarse/manifest.json", "{}");
  fs::create_directory_symlink(elsewhere.path(), folder_ / "link");
  const auto library = this->library();
  std::vector<std::string> names;
  for (const json& run : runs_of(*library)) names.push_back(run["name"]);
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, (std::vector<std::string>{"more/two", "one"})) << "links are not followed";
  const json run = json::parse(*library->describe(id_of(*library, "one")));
  EXPECT_EQ(run["state"], "finished");
  EXPECT_EQ(run["psnr"], 30.5);
  EXPECT_EQ(run["stages"][0]["name"], "reconstruct");
  EXPECT_GT(run["changed"].get<int64_t>(), 1'600'000'000);
}

TEST_F(RunLibraryTest, NamesAreLookedUpAndAreNoPaths) {
  make_run("one");
  const auto library = this->library();
  for (const std::string name : {"one", ".", "..", "../one", "", "0123456789abcdef"}) {
    EXPECT_FALSE(library->describe(name)) << name;
    EXPECT_FALSE(library->open(name)) << name;
    EXPECT_FALSE(library->picture(name, {})) << name;
    EXPECT_FALSE(library->command(name, "cancel")) << name;
  }
  EXPECT_TRUE(library->open(id_of(*library, "one")));
}

TEST_F(RunLibraryTest, RunningAndUnfinishedRunsAreTold) {
  const fs::path running = make_run("running"), unfinished = make_run("unfinished");
  fs::remove(unfinished / "coarse" / "metrics.json");
  const FileLock lock(FileLock::of_folder(running / "coarse"), "it");
  const auto library = this->library();
  for (const json& run : runs_of(*library)) EXPECT_EQ(run["state"], run["name"]);
}

TEST_F(RunLibraryTest, PicturesLieInTheRunOrItsDataset) {
  const fs::path run = make_run("one");
  fs::create_directories(run / "video");
  fs::create_directories(run / "multiviews/000000");
  write_png(run / "video/frame_000.png", Picture(400, 200, 3));
  write_png(run / "multiviews/000000/00000001.png", Picture(40, 40, 3));
  write_png(folder_ / "secret.png", Picture(8, 8, 3));
  fs::create_symlink(folder_ / "secret.png", run / "video/frame_001.png");
  const auto library = this->library();
  const std::string id = id_of(*library, "one");
  using Kind = RunPicture::Kind;
  EXPECT_TRUE(library->picture(id, {Kind::thumbnail}));
  EXPECT_TRUE(library->picture(id, {Kind::view, 0, 0}));
  EXPECT_FALSE(library->picture(id, {Kind::view, 0, 1}));
  EXPECT_FALSE(library->picture(id, {Kind::view, 1'000'000'000'000, 0}));
  EXPECT_FALSE(library->picture(id, {Kind::frame, 1})) << "a link to elsewhere";
  const std::string frame = *library->picture(id, {Kind::frame, 0});
  EXPECT_EQ(decode_picture_size(std::as_bytes(std::span(frame)), "it").width, 160);
  const json described = json::parse(*library->describe(id));
  EXPECT_EQ(described["frames"], 2);
  EXPECT_EQ(described["views"], json::parse("[1]"));
}

TEST_F(RunLibraryTest, ARunKnowsItsDatasetsPicture) {
  test::write_tiny_dataset(folder_ / "dataset", 2, 2, 20, 10);
  const fs::path run = make_run("one");
  test::write_text(run / "coarse/model.safetensors", "");
  test::write_text(run / "coarse/metrics.json",
                   json{{"run", {{"dataset", (folder_ / "dataset").string()}}}}.dump());
  const auto library = this->library();
  EXPECT_TRUE(library->picture(id_of(*library, "one"), {}));
}

TEST_F(RunLibraryTest, UploadsBecomeJobs) {
  const auto library =
      this->library(std::make_unique<JobQueue>(folder_.path(), JobQueue::Arguments(), "/bin/true"));
  const json make = json::parse(library->home())["make"];
  EXPECT_EQ(make["presets"][1]["missing"], "no weights");
  const std::vector<uint8_t> png = encode_png(Picture(30, 20, 3));
  const std::string bytes(png.begin(), png.end());
  EXPECT_THROW(library->upload("paper", "a.png", bytes), Refusal);
  EXPECT_THROW(library->upload("--help", "a.png", bytes), Refusal);
  const std::string id = json::parse(library->upload("mini", "a.png", bytes))["id"];
  json run = json::parse(*library->describe(id));
  EXPECT_EQ(run["state"], "waiting");
  EXPECT_EQ(run["name"], "a");
  EXPECT_TRUE(library->picture(id, {}));
  EXPECT_EQ(library->command(id, "resume"), std::optional(false));
  EXPECT_EQ(library->command(id, "cancel"), std::optional(true));
  EXPECT_EQ(library->command(id, "explode"), std::nullopt);
  EXPECT_EQ(json::parse(*library->describe(id))["state"], "cancelled");
}

TEST_F(RunLibraryTest, WithoutAQueueNothingIsMade) {
  const auto library = this->library();
  EXPECT_TRUE(json::parse(library->home())["make"].is_null());
  EXPECT_ERROR(library->upload("mini", "a.png", ""), "not here");
}

TEST_F(RunLibraryTest, FewObjectsAreOpenAtOnce) {
  for (int i = 0; i < 6; ++i) make_run("run" + std::to_string(i));
  const auto library = this->library();
  for (const json& run : runs_of(*library)) library->open(run["id"]);
  EXPECT_EQ(library->opened().size(), RunLibrary::kMostOpened);
  // Those that somebody looks at stay.
  for (int i = 6; i < 16; ++i) make_run("run" + std::to_string(i));
  const auto crowded = this->library();
  const json runs = runs_of(*crowded);
  size_t opened = 0;
  try {
    for (; opened < runs.size(); ++opened) crowded->open(runs[opened]["id"])->status();
  } catch (const Refusal& refusal) {
    EXPECT_EQ(refusal.status, 503);
  }
  EXPECT_EQ(opened, RunLibrary::kMostWatched);
}

TEST_F(RunLibraryTest, OneObjectAlone) {
  RunLibrary library(ViewedModel{.model = folder_ / "run", .live = true}, false);
  EXPECT_EQ(json::parse(library.home())["run"], "object");
  EXPECT_EQ(json::parse(*library.describe("object"))["name"], "run");
  EXPECT_EQ(json::parse(library.open("object")->status())["version"], 0) << "a run that has not begun yet";
  EXPECT_EQ(library.open("object")->scene(), nullptr);
  EXPECT_FALSE(library.open("other"));
}

}  // namespace
}  // namespace eg4d
