#include "core/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

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

// Box and Muller's formula, with the C library's functions.
TEST(Philox, NormalsOfABlockAreThoseOfTheFormula) {
  for (uint64_t counter = 0; counter < 2000; ++counter) {
    uint32_t words[4];
    float normals[4];
    Philox::block(5, 6, counter, words);
    Philox::normals(5, 6, counter, normals);
    for (int i = 0; i < 4; ++i) {
      const double radius = std::sqrt(-2 * std::log((words[i & ~1] + 1.0) * 0x1p-32));
      const double angle = 2 * std::numbers::pi * (words[i | 1] * 0x1p-32);
      EXPECT_NEAR(normals[i], radius * (i % 2 ? std::sin(angle) : std::cos(angle)), 1e-6);
    }
  }
}

// Every device must give these bits.
TEST(Philox, NormalsHaveTheseBits) {
  float normals[4];
  Philox::normals(23, uint64_t{4} << 56 | 1500, 12345, normals);
  EXPECT_EQ(normals[0], 0x1.0987cap-2f);
  EXPECT_EQ(normals[1], 0x1.3dddb8p-1f);
  EXPECT_EQ(normals[2], -0x1.788534p-2f);
  EXPECT_EQ(normals[3], 0x1.06d5eep+0f);
}

}  // namespace
}  // namespace eg4d
