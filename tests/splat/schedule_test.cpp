#include "splat/schedule.h"

#include <gtest/gtest.h>

#include <vector>

#include "backend/backend.h"
#include "support/device_fixture.h"
#include "support/tiny_scene.h"

namespace eg4d {
namespace {

TEST(ViewSchedule, EpochsCoverEveryViewOnceAndGroupsShareATime) {
  const auto backend = test::make_test_backend();
  const TrainingViews views = test::tiny_scene(*backend, 5, 3, 4, 4);
  ReconstructOptions::Schedule options;
  for (int group : {1, 2, 5, 7}) {
    options.views = group;
    ViewSchedule schedule(views, options, 1);
    std::vector<int> seen(views.size(), 0);
    size_t covered = 0;
    for (int64_t iteration = 1; covered < views.size(); ++iteration) {
      const auto& chosen = schedule.views(Stage::fine, iteration);
      for (int view : chosen) {
        ++seen[static_cast<size_t>(view)];
        EXPECT_EQ(views[static_cast<size_t>(view)].time, views[static_cast<size_t>(chosen.front())].time);
      }
      covered += chosen.size();
    }
    for (int count : seen) EXPECT_EQ(count, 1);
  }
}

TEST(LogLinear, InterpolatesInTheLogarithmAndStays) {
  EXPECT_FLOAT_EQ(log_linear(1e-2f, 1e-4f, 0, 100), 1e-2f);
  EXPECT_NEAR(log_linear(1e-2f, 1e-4f, 50, 100), 1e-3f, 1e-8f);
  EXPECT_NEAR(log_linear(1e-2f, 1e-4f, 500, 100), 1e-4f, 1e-9f);
  EXPECT_EQ(log_linear(0, 1e-4f, 5, 10), 0);
}

}  // namespace
}  // namespace eg4d
