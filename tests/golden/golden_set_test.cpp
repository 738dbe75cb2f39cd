// What holds for all golden tests: the set of fixtures is there, and every test compares something.

#include <gtest/gtest.h>

#include <algorithm>

#include "core/process.h"
#include "support/environment.h"
#include "support/golden.h"
#include "support/hashed_weights.h"
#include "support/places.h"
#include "support/temporary_folder.h"

namespace eg4d::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFixtures[] = {
    "cameras",     "clip_bpe", "deform4d",     "losses",         "openclip_vit", "optim",  "rasterizer",
    "render_glue", "svd_unet", "sdxl_img2img", "sv3d_injection", "svd_sampling", "svd_vae"};

// When this fails no test runs, and the program fails.
class SetIsThere : public testing::Environment {
 public:
  void SetUp() override {
    const fs::path folder = golden_folder();
    ASSERT_TRUE(fs::is_directory(folder)) << "there is no folder " << folder << " ($EG4D_GOLDEN_DIR)";
    const auto there = std::count_if(std::begin(kFixtures), std::end(kFixtures), golden_has);
    ASSERT_GT(there, 0) << folder << " holds none of the golden fixtures ($EG4D_GOLDEN_DIR)";
  }
};

class EveryTestCompares : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo&) override { before_ = golden_comparisons(); }
  void OnTestEnd(const testing::TestInfo& test) override {
    if (!test.result()->Passed()) return;
    EXPECT_GT(golden_comparisons(), before_) << "nothing was compared";
  }
  size_t before_ = 0;
};

const bool registered = [] {
  testing::AddGlobalTestEnvironment(new SetIsThere);
  testing::UnitTest::GetInstance()->listeners().Append(new EveryTestCompares);
  return true;
}();

// The exit code of these golden tests with another set.
int run_with_set(const fs::path& folder, const std::string& filter) {
  const WithEnvironment set("EG4D_GOLDEN_DIR", folder.string());
  const WithEnvironment devices("EG4D_TEST_DEVICES", "cpu");  // filters name its tests
  const WithEnvironment unsharded("GTEST_TOTAL_SHARDS", std::nullopt);
  const WithEnvironment whole("GTEST_SHARD_INDEX", std::nullopt);  // one without the other is an error
  return run_process(fs::read_symlink("/proc/self/exe"), {"--gtest_filter=" + filter}).exit_code;
}

TEST(GoldenSet, TheProgramsOwnIsWhole) {
  count_golden_comparison();
  if (golden_set_is_named()) GTEST_SKIP() << "another set was named";
  for (const char* fixture : kFixtures) EXPECT_TRUE(golden_has(fixture)) << fixture;
}

TEST(GoldenSet, OneThatIsNamedAndMissingFails) {
  count_golden_comparison();
  const TemporaryFolder folder;
  EXPECT_EQ(run_with_set(folder / "nowhere", "GoldenCameras.*"), 1);
  EXPECT_EQ(run_with_set(folder.path(), "GoldenCameras.*"), 1);
}

TEST(GoldenSet, AFixtureMayBeMissingButNotHalfOfIt) {
  count_golden_comparison();
  const fs::path cameras = test_data() / "golden/cameras";
  const TemporaryFolder folder;
  fs::copy(cameras, folder / "cameras", fs::copy_options::recursive);
  EXPECT_EQ(run_with_set(folder.path(), "GoldenCameras.*:Losses.*"), 0);
  fs::remove(folder / "cameras/io.safetensors");
  EXPECT_EQ(run_with_set(folder.path(), "GoldenCameras.*"), 1);
}

// As sets with the reference's own tensors are.
TEST(GoldenSet, WeightsMayBeFiles) {
  count_golden_comparison();
  const fs::path own = test_data() / "golden";
  const TemporaryFolder folder, pipeline;
  copy_model_folder(own / "svd_vae", folder / "svd_vae");  // weights.hash.json becomes weights.safetensors
  nlohmann::json config = nlohmann::json::parse(read_text(folder / "svd_vae/config.json"));
  config.erase("weights");
  write_text(folder / "svd_vae/config.json", config.dump());
  EXPECT_EQ(run_with_set(folder.path(), "*SvdVae*/cpu"), 0);

  fs::create_directory(folder / "sdxl_img2img");
  for (const char* name : {"config.json", "io.safetensors.gz"})
    fs::copy(own / "sdxl_img2img" / name, folder / "sdxl_img2img");
  copy_pipeline(own / "sdxl_img2img", pipeline.path());
  const std::string archive = folder / "sdxl_img2img/pipeline.tar";
  ASSERT_EQ(
      run_process("/bin/tar", {"--create", "--file", archive, "--directory", pipeline.path(), "."}).exit_code,
      0);
  EXPECT_EQ(run_with_set(folder.path(), "*Sdxl*/cpu"), 0);
  fs::remove(archive);
  EXPECT_EQ(run_with_set(folder.path(), "*Sdxl*/cpu"), 1);
}

}  // namespace
}  // namespace eg4d::test
