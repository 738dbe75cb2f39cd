#include "core/byte_size.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "support/expect_error.h"

namespace eg4d {
namespace {

TEST(ByteSize, ReadsWhatPeopleType) {
  constexpr size_t kGiB = size_t{1} << 30;
  EXPECT_EQ(parse_byte_size("8G", "--memory"), 8 * kGiB);
  EXPECT_EQ(parse_byte_size("12GiB", "--memory"), 12 * kGiB);
  EXPECT_EQ(parse_byte_size("24gb", "--memory"), 24 * kGiB);
  EXPECT_EQ(parse_byte_size("1.5g", "--memory"), kGiB * 3 / 2);
  EXPECT_EQ(parse_byte_size("512M", "--memory"), kGiB / 2);
  EXPECT_EQ(parse_byte_size("1T", "--memory"), 1024 * kGiB);
}

TEST(ByteSize, RefusesTheRestInASentence) {
  for (const char* text : {"", "G", "12", "8 G", "-8G", "+8G", "0G", "0.0000000001G", "8Gigs", "8GG", "1e9G",
                           "nanG", "infG", "0x8G", "99999999999999T", "8G\n", "12G,8G"}) {
    EXPECT_THROW(parse_byte_size(text, "--memory"), UsageError) << text;
    EXPECT_ERROR(parse_byte_size(text, "--memory"), "--memory takes a size such as 12G or 8192M, not '");
  }
}

TEST(ByteSize, IsWrittenForPeople) {
  EXPECT_EQ(byte_size_text(1000), "1000 bytes");
  EXPECT_EQ(byte_size_text(size_t{240} << 20), "240 MiB");
  EXPECT_EQ(byte_size_text(size_t{8} << 30), "8.00 GiB");
  EXPECT_EQ(byte_size_text((size_t{6} << 30) - (size_t{10} << 20)), "5.99 GiB");
}

}  // namespace
}  // namespace eg4d
