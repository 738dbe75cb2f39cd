#include "nn/weights.h"

#include <gtest/gtest.h>

#include "core/half.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"

namespace eg4d {
namespace {

TEST(WeightMap, ATransposedTensorIsTurned) {
  const test::TemporaryFolder folder;
  for (const auto& [rows, columns] :
       {std::pair<int64_t, int64_t>{3, 50}, {50, 3}, {1, 1}, {40, 17}, {0, 5}}) {
    // Stored as [columns, rows].
    std::vector<float> stored;
    std::vector<uint16_t> halves;
    for (int64_t i = 0; i < rows * columns; ++i) {
      stored.push_back(static_cast<float>(i));
      halves.push_back(float_to_half(static_cast<float>(i)));
    }
    const Shape shape{columns, rows};
    write_safetensors(folder / "a.safetensors",
                      {{"f", DType::f32, shape, stored.data()}, {"h", DType::f16, shape, halves.data()}});
    WeightMap weights;
    const auto file = weights.add_file(folder / "a.safetensors");
    for (const char* name : {"f", "h"}) {
      weights.add_item(name, {{rows, columns}, {&file->at(name)}, true, true});
      const std::vector<float> values = weights.floats(name);
      ASSERT_EQ(values.size(), static_cast<size_t>(rows * columns));
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < columns; ++c)
          EXPECT_EQ(values[static_cast<size_t>(r * columns + c)], static_cast<float>(c * rows + r));
    }
  }
}

TEST(WeightMap, WholeNumbersAreNoWeights) {
  const test::TemporaryFolder folder;
  const std::vector<int32_t> numbers{1, 2};
  write_safetensors(folder / "a.safetensors", {{"a", DType::i32, {1, 2}, numbers.data()}});
  EXPECT_ERROR(WeightMap(folder / "a.safetensors").floats("a"), "tensor 'a' holds i32, not floating point");
  WeightMap turned;
  const auto file = turned.add_file(folder / "a.safetensors");
  turned.add_item("a", {{2, 1}, {&file->at("a")}, true, true});
  EXPECT_ERROR(turned.floats("a"), "not floating point");
}

}  // namespace
}  // namespace eg4d
