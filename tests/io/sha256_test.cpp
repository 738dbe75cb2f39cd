#include "io/sha256.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace eg4d {
namespace {

std::string hash_of(const std::string& text, size_t piece) {
  Sha256 hash;
  for (size_t i = 0; i < text.size(); i += piece)
    hash.update(text.data() + i, std::min(piece, text.size() - i));
  return hash.hex();
}

// FIPS 180-4's examples.
TEST(Sha256, MatchesTheKnownAnswers) {
  EXPECT_EQ(hash_of("", 1), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hash_of("abc", 1), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const std::string million(1000000, 'a');
  for (const size_t piece : {1000000, 64, 63, 65, 7})
    EXPECT_EQ(hash_of(million, piece), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, NamesAnUnreadableFile) {
  Sha256 hash;
  EXPECT_ERROR(hash_file("/nowhere/file", hash), "/nowhere/file");
}

}  // namespace
}  // namespace eg4d
