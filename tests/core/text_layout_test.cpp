#include "core/text_layout.h"

#include <gtest/gtest.h>

namespace eg4d {
namespace {

TEST(TextLayout, WidthIsWhatATerminalShows) {
  EXPECT_EQ(display_width(""), 0);
  EXPECT_EQ(display_width("X,Y,…"), 5);
  EXPECT_EQ(display_width("漢字"), 4);
  EXPECT_EQ(display_width("e\u0301"), 1);
  EXPECT_EQ(display_width("a\xff\xfe"), 3) << "no UTF-8";
}

TEST(TextLayout, CuttingKeepsCharactersWhole) {
  EXPECT_EQ(cut_to_width("a…b", 2), "a…");
  EXPECT_EQ(cut_to_width("a漢b", 2), "a");
  EXPECT_EQ(cut_to_width("abc", 9), "abc");
  EXPECT_EQ(cut_to_width("abc", -1), "");
}

TEST(TextLayout, WordsAreWrapped) {
  EXPECT_EQ(wrap_words("one two  three", 8), (std::vector<std::string>{"one two", "three"}));
  EXPECT_EQ(wrap_words("a verylongword b", 6), (std::vector<std::string>{"a", "verylongword", "b"}));
  EXPECT_EQ(wrap_words("", 6), std::vector<std::string>{""});
}

TEST(TextLayout, NumbersAgreeWithTheirNouns) {
  EXPECT_EQ(counted(1, "frame"), "1 frame");
  EXPECT_EQ(counted(0, "frame"), "0 frames");
  EXPECT_EQ(counted(2, "frame"), "2 frames");
}

}  // namespace
}  // namespace eg4d
