#include "text/clip_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <limits>
#include <sstream>

#include "core/error.h"
#include "text/clip_vocabulary.h"
#include "text/unicode.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

constexpr int32_t kBytes = 256;  // tokens below are bytes inside a word, the next 256 bytes at its end
constexpr uintmax_t kLargestMerges = 16 << 20;  // bytes; CLIP's own have half a million

// The vocabulary writes bytes as printable characters: those that are printable in Latin-1 as themselves, the
// others from U+0100 on. In this order they are the first tokens.
std::vector<std::pair<unsigned char, char32_t>> byte_symbols() {
  std::vector<std::pair<unsigned char, char32_t>> symbols, others;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
    if (printable) {
      symbols.emplace_back(static_cast<unsigned char>(byte), byte);
    } else {
      others.emplace_back(static_cast<unsigned char>(byte), static_cast<char32_t>(256 + others.size()));
    }
  }
  symbols.insert(symbols.end(), others.begin(), others.end());
  return symbols;
}

const std::array<int32_t, 256>& token_of_byte() {
  static const std::array<int32_t, 256> tokens = [] {
    std::array<int32_t, 256> result{};
    int32_t next = 0;
    for (const auto& [byte, symbol] : byte_symbols()) result[byte] = next++;
    return result;
  }();
  return tokens;
}

uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

struct SpecialToken {
  std::u32string_view text;
  int32_t token;
};
std::array<SpecialToken, 2> special_tokens(const ClipTokenizer& tokenizer, ClipFlavour flavour) {
  const bool open_clip = flavour == ClipFlavour::open_clip;
  return {SpecialToken{open_clip ? U"<start_of_text>" : U"<|startoftext|>", tokenizer.start()},
          SpecialToken{open_clip ? U"<end_of_text>" : U"<|endoftext|>", tokenizer.end()}};
}

std::string read_merges(const fs::path& path) {
  std::error_code error;
  const bool regular = fs::is_regular_file(path, error);
  if (regular && fs::file_size(path, error) > kLargestMerges)
    throw Error(fmt::format("'{}' has more than {} bytes: it is no tokenizer's merges", path.string(),
                            kLargestMerges));
  std::ifstream file;
  if (regular) file.open(path, std::ios::binary);
  if (error || !file.is_open()) throw Error(fmt::format("'{}' cannot be read", path.string()));
  return {std::istreambuf_iterator<char>(file), {}};
}

// The length of "'s" and the like at the beginning of a text; 0 when there is none.
size_t contraction(std::u32string_view text, ClipFlavour flavour) {
  for (const std::u32string_view ending : {U"'s", U"'t", U"'re", U"'ve", U"'m", U"'ll", U"'d"})
    if (text.starts_with(ending)) return ending.size();
  // OpenCLIP compares without regard to case, and the long s is an s.
  return flavour == ClipFlavour::open_clip && text.starts_with(U"'\u017F") ? 2 : 0;
}

template <class Belongs>
size_t run_length(std::u32string_view text, const Belongs& belongs) {
  return static_cast<size_t>(std::find_if_not(text.begin(), text.end(), belongs) - text.begin());
}

// A word is a contraction's ending, letters, one digit, or other characters without white space.
size_t word_length(std::u32string_view text, ClipFlavour flavour) {
  if (const size_t length = contraction(text, flavour)) return length;
  if (is_letter(text[0])) return run_length(text, is_letter);
  if (is_number(text[0])) return 1;
  return run_length(text, [](char32_t c) { return !is_white_space(c) && !is_letter(c) && !is_number(c); });
}

}  // namespace

const ClipTokenizer& ClipTokenizer::built_in() {
  static const ClipTokenizer tokenizer(clip_merges(), "the vocabulary inside the program");
  return tokenizer;
}

ClipTokenizer::ClipTokenizer(const fs::path& merges) : ClipTokenizer(read_merges(merges), merges.string()) {}

ClipTokenizer::ClipTokenizer(const std::string& merges, const std::string& file) {
  std::unordered_map<std::string, int32_t> token_of;  // as the vocabulary writes it
  const auto add = [&](const std::string& written, const std::string& bytes) {
    token_of[written] = static_cast<int32_t>(bytes_of_.size());
    bytes_of_.push_back(bytes);
  };
  const auto symbols = byte_symbols();
  for (const bool ends_word : {false, true})
    for (const auto& [byte, symbol] : symbols) {
      std::string written;
      append_utf8(written, symbol);
      add(written + (ends_word ? "</w>" : ""),
          std::string(1, static_cast<char>(byte)) + (ends_word ? " " : ""));
    }
  std::istringstream lines(merges);
  int64_t number = 0;
  for (std::string line, left, right, more; std::getline(lines, line);) {
    if (++number == 1 && line.starts_with("#version")) continue;
    std::istringstream words(line);
    if (!(words >> left)) continue;
    const bool pair = words >> right && !(words >> more);
    const auto first = token_of.find(left), second = pair ? token_of.find(right) : token_of.end();
    if (first == token_of.end() || second == token_of.end() || token_of.contains(left + right))
      throw Error(fmt::format("'{}', line {}: this is no merge of two tokens known so far into a new one",
                              file, number));
    merged_[pair_key(first->second, second->second)] = static_cast<int32_t>(bytes_of_.size());
    add(left + right,
        bytes_of_[static_cast<size_t>(first->second)] + bytes_of_[static_cast<size_t>(second->second)]);
  }
}

// The pair that was learned first is joined wherever it stands, until no pair is known. Tokens are numbered
// in the order of learning.
void ClipTokenizer::append_word(std::u32string_view word, std::vector<int32_t>& tokens) const {
  std::vector<int32_t> parts;
  for (const char byte : encode_utf8(word))
    parts.push_back(token_of_byte()[static_cast<unsigned char>(byte)]);
  if (parts.empty()) return;
  parts.back() += kBytes;
  while (parts.size() > 1) {
    int32_t earliest = std::numeric_limits<int32_t>::max();
    uint64_t best = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const uint64_t key = pair_key(parts[i], parts[i + 1]);
      const auto found = merged_.find(key);
      if (found == merged_.end() || found->second >= earliest) continue;
      earliest = found->second;
      best = key;
    }
    if (earliest == std::numeric_limits<int32_t>::max()) break;
    size_t kept = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
      const bool joins = i + 1 < parts.size() && pair_key(parts[i], parts[i + 1]) == best;
      parts[kept++] = joins ? earliest : parts[i];
      if (joins) ++i;
    }
    parts.resize(kept);
  }
  tokens.insert(tokens.end(), parts.begin(), parts.end());
}

void ClipTokenizer::append_words(std::u32string_view text, ClipFlavour flavour,
                                 std::vector<int32_t>& tokens) const {
  while (!text.empty()) {
    if (is_white_space(text[0])) {
      text.remove_prefix(1);
      continue;
    }
    size_t length = 0;
    if (flavour == ClipFlavour::open_clip)  // only where a word may begin
      for (const SpecialToken& special : special_tokens(*this, flavour))
        if (text.starts_with(special.text)) {
          tokens.push_back(special.token);
          length = special.text.size();
        }
    if (length == 0) {
      length = word_length(text, flavour);
      append_word(text.substr(0, length), tokens);
    }
    text.remove_prefix(length);
  }
}

std::vector<int32_t> ClipTokenizer::tokens(std::string_view prompt, ClipFlavour flavour) const {
  if (prompt.size() > kLongestPrompt)
    throw Error(fmt::format("the prompt has {} bytes: at most {} are read, and {} tokens used", prompt.size(),
                            kLongestPrompt, kRoom));
  const std::u32string text = decode_utf8(prompt, "the prompt");
  std::vector<int32_t> tokens;
  if (flavour == ClipFlavour::open_clip) {
    append_words(clean_prompt(text, flavour), flavour, tokens);
    return tokens;
  }
  // Hugging Face's tokenizer looks for them everywhere, before anything else is done to the text.
  std::u32string_view rest = text;
  while (!rest.empty()) {
    size_t at = rest.size(), length = 0;
    int32_t token = 0;
    for (const SpecialToken& special : special_tokens(*this, flavour))
      if (const size_t found = rest.find(special.text); found < at) {
        at = found;
        length = special.text.size();
        token = special.token;
      }
    append_words(clean_prompt(rest.substr(0, at), flavour), flavour, tokens);
    if (length > 0) tokens.push_back(token);
    rest.remove_prefix(at + length);
  }
  return tokens;
}

ClipTokenizer::Row ClipTokenizer::row(const std::vector<int32_t>& tokens, int32_t padding) const {
  Row row;
  row.fill(padding);
  const size_t used = std::min(tokens.size(), kRoom);
  row[0] = start();
  std::copy_n(tokens.begin(), used, row.begin() + 1);
  row[1 + used] = end();
  return row;
}

std::string ClipTokenizer::text_of(const std::vector<int32_t>& tokens) const {
  std::string text;
  for (const int32_t token : tokens)
    if (token >= 0 && static_cast<size_t>(token) < bytes_of_.size())
      text += bytes_of_[static_cast<size_t>(token)];
  while (text.ends_with(' ')) text.pop_back();
  return text;
}

std::string ClipTokenizer::truncation(const std::vector<int32_t>& tokens) const {
  if (tokens.size() <= kRoom) return {};
  constexpr size_t kShown = 6;
  const auto cut = tokens.begin() + kRoom;
  const std::vector<int32_t> before(cut - kShown, cut),
      behind(cut, cut + std::min(kShown, tokens.size() - kRoom));
  return fmt::format("the prompt has {} tokens and the model reads {}: it is cut between \"…{}\" and \"{}…\"",
                     tokens.size(), kRoom, text_of(before), text_of(behind));
}

}  // namespace eg4d
