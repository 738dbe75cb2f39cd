#include "app/progress_display.h"

#include <gtest/gtest.h>

#include <cmath>

namespace eg4d {
namespace {

ProgressState example() {
  return {.label = "coarse",
          .step = 500,
          .total = 2000,
          .rate = 10,
          .figures = {{"PSNR", 23.456789}, {"Gaussians", 12345}}};
}

TEST(ProgressDisplay, PlainLine) {
  EXPECT_EQ(progress_plain_line(example()),
            "coarse 500/2000 (25 %), 10/s, 2:30 left, PSNR 23.46, Gaussians 12345");
}

TEST(ProgressDisplay, BarFitsTheTerminal) {
  EXPECT_EQ(progress_bar_line(example(), 100),
            "coarse [=======>                      ] 500/2000  10/s  2:30 left  PSNR 23.46  Gaussians 12345");
  for (int width = 0; width < 140; ++width) {
    EXPECT_LE(progress_bar_line(example(), width).size(), static_cast<size_t>(width));
  }
}

TEST(ProgressDisplay, OddStatesAreShownToo) {
  ProgressState state = example();
  state.total = 0;
  state.rate = 0;
  state.figures = {{"PSNR", std::nan("")}};
  EXPECT_EQ(progress_plain_line(state), "coarse 500/0 (100 %), PSNR nan");
  EXPECT_FALSE(progress_bar_line(state, 80).empty());
  EXPECT_NE(progress_json_line(state).find("\"PSNR\":null"), std::string::npos);
}

TEST(ProgressDisplay, JsonLine) {
  EXPECT_EQ(
      progress_json_line(example()),
      "{\"event\":\"progress\",\"figures\":{\"Gaussians\":12345.0,\"PSNR\":23.456789},\"label\":\"coarse\","
      "\"rate\":10.0,\"seconds_left\":150.0,\"step\":500,\"total\":2000}");
}

TEST(ProgressDisplay, Durations) {
  EXPECT_EQ(format_duration(0), "0:00");
  EXPECT_EQ(format_duration(59.2), "1:00");
  EXPECT_EQ(format_duration(3723), "1:02:03");
  EXPECT_EQ(format_duration(-5), "0:00");
  EXPECT_NE(format_duration(INFINITY), "");
}

}  // namespace
}  // namespace eg4d
