#include "backend/stored_weight.h"

#include <gtest/gtest.h>

#include <cstring>

#include "core/half.h"

namespace eg4d {
namespace {

std::vector<float> floats_of(const StoredWeight& weight) {
  std::vector<float> values(static_cast<size_t>(weight.count()));
  weight.copy_as_floats(values.data());
  return values;
}

TEST(StoredWeight, PlainFloatsAreUsedWhereTheyLie) {
  const std::vector<float> values{1, 2, 3};
  const StoredWeight weight = values;
  EXPECT_TRUE(weight);
  EXPECT_EQ(weight.as_floats(), values.data());
  EXPECT_EQ(floats_of(weight), values);
  EXPECT_FALSE(StoredWeight(std::vector<float>()));
  EXPECT_FALSE(StoredWeight());
}

TEST(StoredWeight, PartsOfAnyTypeStandOneAfterTheOtherTimesTheScale) {
  const uint16_t halves[] = {float_to_half(1), float_to_half(-2), float_to_half(0.5f), float_to_half(8)};
  const uint16_t brains[] = {float_to_bfloat16(3), float_to_bfloat16(-0.25f)};
  const double doubles[] = {7, 9};
  // At an odd address.
  std::vector<std::byte> odd(1 + sizeof halves);
  std::memcpy(odd.data() + 1, halves, sizeof halves);
  StoredWeight weight;
  weight.parts = {{odd.data() + 1, DType::f16, 2, 2, false},
                  {reinterpret_cast<const std::byte*>(brains), DType::bf16, 1, 2, false},
                  {reinterpret_cast<const std::byte*>(doubles), DType::f64, 1, 2, false}};
  weight.scale = 2;
  EXPECT_EQ(weight.as_floats(), nullptr);
  EXPECT_EQ(floats_of(weight), (std::vector<float>{2, -4, 1, 16, 6, -0.5f, 14, 18}));
}

TEST(StoredWeight, ATransposedPartIsTurned) {
  for (const auto& [rows, columns] :
       {std::pair<int64_t, int64_t>{3, 50}, {50, 3}, {1, 1}, {40, 17}, {0, 5}}) {
    std::vector<float> stored;  // [columns,rows]
    for (int64_t i = 0; i < rows * columns; ++i) stored.push_back(static_cast<float>(i));
    StoredWeight weight;
    weight.parts = {{reinterpret_cast<const std::byte*>(stored.data()), DType::f32, rows, columns, true}};
    const std::vector<float> turned = floats_of(weight);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c)
        EXPECT_EQ(turned[static_cast<size_t>(r * columns + c)], static_cast<float>(c * rows + r));
  }
}

}  // namespace
}  // namespace eg4d
