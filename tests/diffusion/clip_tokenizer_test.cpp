#include "diffusion/clip_tokenizer.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace eg4d::test {
namespace {

const ClipTokenizer& tokenizer() {
  static const ClipTokenizer one;
  return one;
}
std::vector<int32_t> tokens(const std::string& prompt, ClipFlavour flavour = ClipFlavour::hugging_face) {
  return tokenizer().tokens(prompt, flavour);
}

TEST(ClipTokenizer, KnownTokens) {
  EXPECT_EQ(tokens("A photo of a cat."), (std::vector<int32_t>{320, 1125, 539, 320, 2368, 269}));
  EXPECT_EQ(tokens("a  PHOTO\nof\ta cat."), tokens("A photo of a cat."));
  EXPECT_EQ(tokens(""), std::vector<int32_t>{});
  EXPECT_EQ(tokenizer().text_of(tokens("It's 3D-rendered, naïve!")), "it 's 3 d - rendered , naïve !");
}

TEST(ClipTokenizer, RowsAreFilledUp) {
  const ClipTokenizer::Row row = ClipTokenizer::row(tokens("cat"), 0);
  EXPECT_EQ(row[0], ClipTokenizer::kStart);
  EXPECT_EQ(row[1], 2368);
  EXPECT_EQ(row[2], ClipTokenizer::kEnd);
  EXPECT_EQ(row[3], 0);
  EXPECT_EQ(row.back(), 0);
}

TEST(ClipTokenizer, LongPromptsAreCutWithAWordAboutWhere) {
  std::string prompt;
  for (int i = 0; i < 80; ++i) prompt += i == 74 ? "last " : i == 75 ? "first " : "cat ";
  const std::vector<int32_t> all = tokens(prompt);
  EXPECT_EQ(all.size(), 80u);
  const ClipTokenizer::Row row = ClipTokenizer::row(all, 0);
  EXPECT_EQ(row[75], all[74]);
  EXPECT_EQ(row[76], ClipTokenizer::kEnd);
  const std::string sentence = tokenizer().truncation(all);
  EXPECT_TRUE(contains(sentence, "80 tokens")) << sentence;
  EXPECT_TRUE(contains(sentence, "cat last\" and \"first cat")) << sentence;
  EXPECT_EQ(tokenizer().truncation({all.begin(), all.begin() + 75}), "");
}

TEST(ClipTokenizer, FlavoursDiffer) {
  const auto open_clip = ClipFlavour::open_clip;
  EXPECT_EQ(tokens("<|endoftext|>cat"), (std::vector<int32_t>{ClipTokenizer::kEnd, 2368}));
  EXPECT_EQ(tokens("<end_of_text>cat", open_clip), (std::vector<int32_t>{ClipTokenizer::kEnd, 2368}));
  EXPECT_EQ(tokens("&#99;at", open_clip), (std::vector<int32_t>{2368}));
  EXPECT_NE(tokens("&#99;at"), (std::vector<int32_t>{2368}));
  EXPECT_EQ(tokens("“ｃａｔ”", open_clip), tokens("\"cat\""));
}

TEST(ClipTokenizer, NonsenseIsRefusedOrSurvived) {
  EXPECT_ERROR(tokens("caf\xE9"), "the prompt is not UTF-8: byte 4");
  EXPECT_ERROR(tokens(std::string(20000, 'x')), "20000 bytes");
  for (const std::string& prompt :
       {std::string(3, '\0'), std::string(16384, 'q'), std::string("\xEF\xBF\xBF\x01\x7F"),
        std::string("&&&#x&#;"), std::string("<<|endoftext|"), std::string("\xCC\x81")})
    for (const ClipFlavour flavour : {ClipFlavour::open_clip, ClipFlavour::hugging_face})
      EXPECT_NO_THROW(tokens(prompt, flavour));
}

TEST(RepairText, UndoesWhatItSays) {
  EXPECT_EQ(repair_text(U"schÃ¶n â€™"), U"schön '");
  EXPECT_EQ(repair_text(U"ﬁne\r\nＡＢ\u3000“x”\u0085\uFEFF"), U"fine\n\nAB \"x\"…");
  EXPECT_EQ(repair_text(U"naïve café — ½"), U"naïve café — ½");
}

}  // namespace
}  // namespace eg4d::test
