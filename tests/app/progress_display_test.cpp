#include "app/progress_display.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/text_layout.h"

namespace eg4d {
namespace {

ProgressState example() {
  ProgressState state;
  state.label = "coarse";
  state.step = 500;
  state.total = 2000;
  state.rate = 10;
  state.figures = {{"Gaussians", 12345}, {"PSNR", 23.456789}};
  return state;
}

TEST(ProgressDisplay, PlainLine) {
  EXPECT_EQ(progress_plain_line(example()),
            "coarse 500/2000 (25 %), 10/s, 2:30 left, Gaussians 12345, PSNR 23.46");
}

TEST(ProgressDisplay, BarFitsTheTerminal) {
  EXPECT_EQ(progress_bar_line(example(), 100),
            "coarse [=======>                      ] 500/2000  10/s  2:30 left  Gaussians 12345  PSNR 23.46");
  for (int width = 0; width < 140; ++width) {
    EXPECT_LE(progress_bar_line(example(), width).size(), static_cast<size_t>(width));
  }
}

// In 79 columns: first the bar goes, then the rate, then the figures that were named first.
TEST(ProgressDisplay, WhatMattersMostStaysInANarrowTerminal) {
  ProgressState state = example();
  state.label = "3/5 reconstructing";
  state.figures.emplace_back("test PSNR", 24.56);
  state.seconds_left_in_all = 192;
  EXPECT_EQ(progress_bar_line(state, 79),
            "3/5 reconstructing 500/2000  2:30 left  test PSNR 24.56  3:12 left in all");
  EXPECT_EQ(progress_bar_line(state, 57), "3/5 reconstructing 500/2000  2:30 left  3:12 left in all");
  EXPECT_EQ(progress_plain_line(state),
            "3/5 reconstructing 500/2000 (25 %), 10/s, 2:30 left, Gaussians 12345, PSNR 23.46, test PSNR "
            "24.56, 3:12 left in all");
  EXPECT_NE(progress_json_line(state).find("\"minutes left in all\":3.2"), std::string::npos);
}

TEST(ProgressDisplay, SpeaksOfWhatTakesLongOfBytesAndOfSingleSteps) {
  ProgressState state = example();
  state.figures.clear();
  state.rate = 0.25;
  EXPECT_EQ(progress_plain_line(state), "coarse 500/2000 (25 %), 4.0 s each, 1:40:00 left");
  state.rate = 0.01;
  EXPECT_NE(progress_plain_line(state).find("1:40 each"), std::string::npos);
  state.bytes = true;
  state.step = 1'230'000'000;
  state.total = 4'780'000'000;
  state.rate = 35.5e6;
  EXPECT_EQ(progress_plain_line(state), "coarse 1.23 GB of 4.78 GB (26 %), 35.5 MB/s, 1:40 left");
  state.total = 0;
  EXPECT_EQ(progress_plain_line(state), "coarse 1.23 GB, 35.5 MB/s");
  state = {};
  state.label = "reading weights";
  state.total = 1;
  EXPECT_EQ(progress_bar_line(state, 79), "reading weights …");
  EXPECT_EQ(progress_plain_line(state), "reading weights");
}

TEST(ProgressDisplay, NamesOfAnyBytesAreCutWhereCharactersEnd) {
  ProgressState state = example();
  state.label = "漢字漢字\xff";
  for (int width = 0; width < 60; ++width) EXPECT_LE(display_width(progress_bar_line(state, width)), width);
}

TEST(ProgressDisplay, OddStatesAreShownToo) {
  ProgressState state = example();
  state.total = 0;
  state.rate = 0;
  state.figures = {{"PSNR", std::nan("")}};
  EXPECT_EQ(progress_plain_line(state), "coarse 500, PSNR nan");
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
