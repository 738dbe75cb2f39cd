#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace eg4d::splat {

// 256 numbers, ascending, of which the nearest stands for any of `values`: Lloyd's algorithm (1982) in one
// dimension, from quantiles. Fewer values are their own codebook, filled up with the last one.
using Codebook = std::array<float, 256>;
Codebook codebook_of(std::vector<float> values);
uint8_t nearest(const Codebook& codebook, float value);

// Rows of `width` numbers, and for each of many the row that stands for it.
struct Palette {
  std::vector<float> rows;       // [count, width]
  std::vector<uint32_t> labels;  // of the rows that it was made of
};
// k-means (Lloyd) with at most `count` rows; as many rows as there are keep their own. The same values give
// the same palette on any number of threads.
Palette palette_of(std::span<const float> values, size_t width, size_t count, int iterations);

}  // namespace eg4d::splat
