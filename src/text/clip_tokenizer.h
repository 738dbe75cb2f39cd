#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/clip_prompt.h"

namespace eg4d {

// CLIP's byte-pair tokenizer (Radford et al. 2021): a text becomes words, a word the bytes of its UTF-8, and
// pairs of neighbours are joined in the order in which the vocabulary learned them. Tokens are numbered: 256
// bytes, 256 bytes that end a word, one for every merge, start, end.
class ClipTokenizer {
 public:
  static constexpr int64_t kVocabulary = 49408;      // of CLIP's own
  static constexpr size_t kContext = 77;             // tokens that the text encoders take
  static constexpr size_t kRoom = kContext - 2;      // without start and end
  static constexpr size_t kLongestPrompt = 1 << 14;  // bytes

  // CLIP's own merges, which SDXL has.
  static const ClipTokenizer& built_in();
  // Those of a file merges.txt, as Hugging Face's libraries write it: a line "#version: …", then one merge,
  // "left right", a line. Throws Error for what is none.
  explicit ClipTokenizer(const std::filesystem::path& merges);

  int64_t vocabulary() const { return static_cast<int64_t>(bytes_of_.size()) + 2; }
  int32_t start() const { return static_cast<int32_t>(bytes_of_.size()); }
  int32_t end() const { return start() + 1; }

  // The tokens of a prompt in UTF-8, any number of them, without start and end. Throws Error for what is not
  // UTF-8 and for prompts above kLongestPrompt.
  std::vector<int32_t> tokens(std::string_view prompt, ClipFlavour flavour) const;

  // Start, at most kRoom tokens, end, padding.
  using Row = std::array<int32_t, kContext>;
  Row row(const std::vector<int32_t>& tokens, int32_t padding) const;

  // The text of some tokens, about as it was: in lower case, a space behind every word.
  std::string text_of(const std::vector<int32_t>& tokens) const;
  // For more than kRoom tokens, where they are cut: a sentence for a warning; else empty.
  std::string truncation(const std::vector<int32_t>& tokens) const;

 private:
  ClipTokenizer(const std::string& merges, const std::string& file);
  void append_word(std::u32string_view word, std::vector<int32_t>& tokens) const;
  void append_words(std::u32string_view text, ClipFlavour flavour, std::vector<int32_t>& tokens) const;

  std::vector<std::string> bytes_of_;             // of every token; those that end a word have a space behind
  std::unordered_map<uint64_t, int32_t> merged_;  // left·2³² + right → the token that they become
};

}  // namespace eg4d
