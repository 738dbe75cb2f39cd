#include "pipeline/training_log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <span>

#include "support/full_disk.h"
#include "support/temporary_folder.h"

namespace eg4d::test {
namespace {

namespace fs = std::filesystem;

std::vector<Event> events_in(const fs::path& folder) {
  std::vector<Event> events;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".eg4d")
      for (Event& event : read_events(entry.path())) events.push_back(std::move(event));
  return events;
}

Picture grey(uint8_t value) {
  Picture picture(60, 40, 3);
  std::fill(picture.data.begin(), picture.data.end(), value);
  return picture;
}

// Pictures are encoded by another thread; what is flushed is whole.
TEST(TrainingLog, AfterAFlushAllOfItIsInTheFiles) {
  const TemporaryFolder folder;
  TrainingLog log(folder.path(), 0);
  for (int64_t iteration = 1; iteration <= 20; ++iteration) {
    log.step(iteration, "fine", {{"psnr", 20.0 + static_cast<double>(iteration)}});
    if (iteration % 5 == 0) log.evaluation(iteration, R"({"psnr":30})", {.psnr = 30, .views = {}}, grey(200));
  }
  log.flush();
  std::set<int64_t> steps, pictures;
  for (const Event& event : events_in(folder.path())) {
    for (const Event::Scalar& scalar : event.scalars)
      if (scalar.tag == "train/psnr") steps.insert(event.step);
    for (const Event::Image& image : event.images) {
      pictures.insert(event.step);
      EXPECT_EQ(decode_picture(std::as_bytes(std::span(image.png)), "event").data, grey(200).data);
    }
  }
  EXPECT_EQ(steps.size(), 20u);
  EXPECT_EQ(pictures, (std::set<int64_t>{5, 10, 15, 20}));
}

// Curves of both programs are to lie over one another.
TEST(TrainingLog, WhatThePythonProgramLogsTooHasItsTags) {
  const TemporaryFolder folder;
  TrainingLog log(folder.path(), 0);
  log.step(10, "fine", {{"l1", 0.25}, {"psnr", 20}, {"gaussians", 1000}});
  log.evaluation(10, R"({"psnr":30})", {.psnr = 30, .l1 = 0.125, .views = {}}, grey(200));
  log.flush();
  std::map<std::string, float> scalars;
  for (const Event& event : events_in(folder.path()))
    for (const Event::Scalar& scalar : event.scalars) {
      EXPECT_EQ(event.step, 10);
      scalars[scalar.tag] = scalar.value;
    }
  EXPECT_EQ(scalars["fine/train_loss_patches/l1_loss"], 0.25f);
  EXPECT_EQ(scalars["fine/total_points"], 1000);
  EXPECT_EQ(scalars["fine/test/loss_viewpoint - psnr"], 30);
  EXPECT_EQ(scalars["fine/test/loss_viewpoint - l1_loss"], 0.125f);
  EXPECT_EQ(scalars["train/l1"], 0.25f);  // ours stay
}

// A picture that could not be written is told when what was logged must be there.
TEST(TrainingLog, APictureThatDoesNotFitOnTheDiskIsAnError) {
  const TemporaryFolder folder;
  TrainingLog log(folder.path(), 0);
  log.flush();
  const FullDisk full(200);
  EXPECT_ANY_THROW({
    log.evaluation(1, R"({"psnr":30})", {.psnr = 30, .views = {}}, grey(200));
    log.flush();
  });
}

}  // namespace
}  // namespace eg4d::test
