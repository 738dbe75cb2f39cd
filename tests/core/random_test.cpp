#include "core/random.h"

#include <gtest/gtest.h>

#include <cmath>

namespace eg4d {
namespace {

// Known answers of the Philox4x32-10 reference (Random123's kat_vectors).
TEST(Philox, MatchesTheKnownAnswers) {
  uint32_t out[4];
  Philox::block(0, 0, 0, out);
  EXPECT_EQ(out[0], 0x6627e8d5u);
  EXPECT_EQ(out[1], 0xe169c58du);
  EXPECT_EQ(out[2], 0xbc57ac4cu);
  EXPECT_EQ(out[3], 0x9b00dbd8u);
  Philox::block(~0ull, ~0ull, ~0ull, out);
  EXPECT_EQ(out[0], 0x408f276du);
  EXPECT_EQ(out[3], 0x6d5451fdu);
}

TEST(Philox, ContinuesFromAStoredPosition) {
  Philox a(7, 1);
  for (int i = 0; i < 11; ++i) a.next_u32();
  Philox b(7, 1);
  b.seek(a.position());
  EXPECT_EQ(a.next_u32(), b.next_u32());
}

TEST(Philox, NormalHasUnitVariance) {
  Philox random(3);
  double sum = 0, squares = 0;
  const int count = 100000;
  for (int i = 0; i < count; ++i) {
    const double x = random.normal();
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / count, 0, 0.02);
  EXPECT_NEAR(squares / count, 1, 0.02);
}

}  // namespace
}  // namespace eg4d
