// Prompts: decoding, repairing, splitting and joining in both flavours.

#include <string_view>

#include "fuzz.h"
#include "text/clip_tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const eg4d::ClipTokenizer& tokenizer = eg4d::ClipTokenizer::built_in();
  const std::string_view prompt(reinterpret_cast<const char*>(data), size);
  for (const auto flavour : {eg4d::ClipFlavour::open_clip, eg4d::ClipFlavour::hugging_face})
    eg4d::fuzz::survive([&] {
      const std::vector<int32_t> tokens = tokenizer.tokens(prompt, flavour);
      for (const int32_t token : tokens)
        eg4d::fuzz::require(token >= 0 && token < eg4d::ClipTokenizer::kVocabulary);
      const auto row = tokenizer.row(tokens, 0);
      eg4d::fuzz::require(row[0] == tokenizer.start());
      eg4d::fuzz::require(tokenizer.truncation(tokens).empty() ==
                          (tokens.size() <= eg4d::ClipTokenizer::kRoom));
    });
  return 0;
}
