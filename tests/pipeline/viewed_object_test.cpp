#include "pipeline/viewed_object.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "backend/backend.h"
#include "support/device_fixture.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"
#include "support/tiny_model.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class ViewedObjectTest : public testing::Test {
 protected:
  ViewedObjectTest() { fs::create_directories(folder_ / "coarse"); }
  void write_model(int gaussians) {
    const Model model = test::tiny_model(*backend_, gaussians, 0);
    save_model(folder_ / "coarse/best.safetensors", model.info, model.gaussians, model.active_field());
  }
  // Asks as a page does, until there is something to do.
  void wait_until_due() {
    for (int i = 0; i < 1000 && !object_.is_due(); ++i) {
      object_.status();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    ASSERT_TRUE(object_.is_due());
  }
  std::string make() {
    return object_.make(*backend_, progress_, [] { return false; });
  }
  int64_t version() { return json::parse(object_.status())["version"]; }

  const test::TemporaryFolder folder_;
  const std::unique_ptr<Backend> backend_ = test::make_test_backend();
  Progress progress_;
  ViewedObject object_{{.model = folder_.path(), .moments = 2, .live = true}, false};
};

TEST_F(ViewedObjectTest, WaitsForTheFirstModelAndTakesNewerOnes) {
  object_.status();
  EXPECT_FALSE(object_.is_due());
  EXPECT_EQ(version(), 0);
  write_model(20);
  EXPECT_TRUE(object_.is_due());
  EXPECT_EQ(make(), "");
  const int64_t first = version();
  EXPECT_GT(first, 0);
  EXPECT_EQ(json::parse(object_.info())["frames"], 5);
  EXPECT_FALSE(object_.is_due()) << "nothing is newer";
  write_model(30);
  wait_until_due();
  EXPECT_EQ(make(), "");
  EXPECT_GT(version(), first);
}

TEST_F(ViewedObjectTest, NobodyLooksNothingIsMade) {
  write_model(20);
  EXPECT_FALSE(object_.is_due());
}

// What cannot be read now may be whole at the next look.
TEST_F(ViewedObjectTest, AFailureIsToldAndTriedAgain) {
  write_model(20);
  object_.status();
  make();
  const int64_t first = version();
  test::write_text(folder_ / "coarse/best.safetensors", "nonsense");
  wait_until_due();
  EXPECT_NE(make(), "");
  EXPECT_EQ(version(), first) << "the one before is still shown";
  EXPECT_NE(json::parse(object_.status())["failure"], "");
  EXPECT_FALSE(object_.is_due()) << "after a rest";
  wait_until_due();
  write_model(30);
  EXPECT_EQ(make(), "");
  EXPECT_GT(version(), first);
  EXPECT_EQ(json::parse(object_.status())["failure"], "");
}

TEST_F(ViewedObjectTest, WhatCannotBeOpenedIsAnError) {
  EXPECT_ERROR(object_.open(*backend_), "no model");
}

}  // namespace
}  // namespace eg4d
