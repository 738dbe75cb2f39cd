// The tokenizer against clip_bpe/: ids identical in both flavours.

#include <gtest/gtest.h>

#include "support/golden.h"
#include "text/clip_tokenizer.h"

namespace eg4d::test {
namespace {

std::vector<int32_t> row_of(const ClipTokenizer& tokenizer, const std::string& prompt, ClipFlavour flavour,
                            int32_t padding) {
  const ClipTokenizer::Row row = tokenizer.row(tokenizer.tokens(prompt, flavour), padding);
  return {row.begin(), row.end()};
}

TEST(ClipBpe, Identifiers) {
  if (!golden_has_fixture("clip_bpe/fixture.json")) GTEST_SKIP() << "no clip_bpe fixture";
  const nlohmann::json fixture = golden_json("clip_bpe/fixture.json");
  const ClipTokenizer& tokenizer = ClipTokenizer::built_in();
  size_t compared = 0;
  for (const nlohmann::json& row : fixture.at("rows")) {
    const auto prompt = row.at("prompt").get<std::string>();
    const auto expect = [&](const char* name, const std::vector<int32_t>& ids) {
      if (!row.contains(name) || row[name].is_null()) return;
      ++compared;
      count_golden_comparison();
      EXPECT_EQ(ids, row[name].get<std::vector<int32_t>>()) << name << " of \"" << prompt << '"';
    };
    const ClipFlavour ours = ClipFlavour::open_clip, theirs = ClipFlavour::hugging_face;
    expect("open_clip_tokens_no_specials", tokenizer.tokens(prompt, ours));
    expect("open_clip_77", row_of(tokenizer, prompt, ours, 0));
    expect("clip_l_pad49407", row_of(tokenizer, prompt, ours, tokenizer.end()));
    expect("clip_bigg_pad0", row_of(tokenizer, prompt, ours, 0));
    expect("hf_backend_ids", row_of(tokenizer, prompt, theirs, tokenizer.end()));
  }
  EXPECT_GT(compared, 0u);
}

}  // namespace
}  // namespace eg4d::test
