#include "text/clip_tokenizer.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/temporary_folder.h"
#include "text/clip_vocabulary.h"

namespace eg4d::test {
namespace {

const ClipTokenizer& tokenizer() {
  return ClipTokenizer::built_in();
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
  const ClipTokenizer::Row row = tokenizer().row(tokens("cat"), 0);
  EXPECT_EQ(row[0], tokenizer().start());
  EXPECT_EQ(row[1], 2368);
  EXPECT_EQ(row[2], tokenizer().end());
  EXPECT_EQ(row[3], 0);
  EXPECT_EQ(row.back(), 0);
}

TEST(ClipTokenizer, LongPromptsAreCutWithAWordAboutWhere) {
  std::string prompt;
  for (int i = 0; i < 80; ++i) prompt += i == 74 ? "last " : i == 75 ? "first " : "cat ";
  const std::vector<int32_t> all = tokens(prompt);
  EXPECT_EQ(all.size(), 80u);
  const ClipTokenizer::Row row = tokenizer().row(all, 0);
  EXPECT_EQ(row[75], all[74]);
  EXPECT_EQ(row[76], tokenizer().end());
  const std::string sentence = tokenizer().truncation(all);
  EXPECT_TRUE(contains(sentence, "80 tokens")) << sentence;
  EXPECT_TRUE(contains(sentence, "cat last\" and \"first cat")) << sentence;
  EXPECT_EQ(tokenizer().truncation({all.begin(), all.begin() + 75}), "");
}

TEST(ClipTokenizer, FlavoursDiffer) {
  const auto open_clip = ClipFlavour::open_clip;
  EXPECT_EQ(tokens("<|endoftext|>cat"), (std::vector<int32_t>{tokenizer().end(), 2368}));
  EXPECT_EQ(tokens("<end_of_text>cat", open_clip), (std::vector<int32_t>{tokenizer().end(), 2368}));
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

TEST(ClipTokenizer, MergesOfAFile) {
  const TemporaryFolder folder;
  const auto read = [&](const std::string& text) {
    write_text(folder / "merges.txt", text);
    return ClipTokenizer(folder / "merges.txt");
  };
  for (const char* text : {"#version: 0.2\nt o\nto y</w>\n", "t o\r\n\r\nto y</w>"}) {
    const ClipTokenizer own = read(text);
    EXPECT_EQ(own.vocabulary(), 516);
    EXPECT_EQ(own.tokens("A toy<|endoftext|>", ClipFlavour::hugging_face),
              (std::vector<int32_t>{320, 513, own.end()}));
    EXPECT_EQ(own.row({320}, 7)[0], 514);
    EXPECT_EQ(own.row({320}, 7)[2], 515);
    EXPECT_EQ(own.row({320}, 7)[3], 7);
    EXPECT_EQ(own.text_of({320, 513}), "a toy");
  }
  const ClipTokenizer same = read("#version: 0.2\n" + clip_merges());
  EXPECT_EQ(same.vocabulary(), ClipTokenizer::kVocabulary);
  EXPECT_EQ(same.tokens("A photo of a cat.", ClipFlavour::hugging_face), tokens("A photo of a cat."));

  EXPECT_EQ(read("").vocabulary(), 514);
  EXPECT_ERROR(read("t o\ntoy s\n"), "line 2: this is no merge");
  EXPECT_ERROR(read("t o\nt o\n"), "line 2: this is no merge");
  EXPECT_ERROR(read("t o y"), "line 1: this is no merge");
  EXPECT_ERROR(read("t"), "line 1: this is no merge");
  EXPECT_ERROR(read(std::string(20 << 20, ' ')), "more than 16777216 bytes");
  EXPECT_ERROR(ClipTokenizer(folder.path()), "cannot be read");
  EXPECT_ERROR(ClipTokenizer(folder / "nothing"), "cannot be read");
}

TEST(RepairText, UndoesWhatItSays) {
  EXPECT_EQ(repair_text(U"schÃ¶n â€™"), U"schön '");
  EXPECT_EQ(repair_text(U"ﬁne\r\nＡＢ\u3000“x”\u0085\uFEFF"), U"fine\n\nAB \"x\"…");
  EXPECT_EQ(repair_text(U"naïve café — ½"), U"naïve café — ½");
}

}  // namespace
}  // namespace eg4d::test
