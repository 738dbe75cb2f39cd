#include "formats/codebook.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/threads.h"

namespace eg4d::splat {
namespace {

constexpr int kCodebookIterations = 30;
constexpr int64_t kGrain = 256;  // rows of a chunk

// The row of `rows` that is nearest to `value`; the first of equals.
uint32_t nearest_row(const std::vector<float>& rows, const float* value, size_t width) {
  uint32_t best = 0;
  float least = INFINITY;
  for (size_t row = 0; row * width < rows.size(); ++row) {
    const float* candidate = &rows[row * width];
    float distance = 0;
    for (size_t k = 0; k < width && distance < least; ++k) {
      const float difference = value[k] - candidate[k];
      distance += difference * difference;
    }
    if (distance < least) {
      least = distance;
      best = static_cast<uint32_t>(row);
    }
  }
  return best;
}

}  // namespace

Codebook codebook_of(std::vector<float> values) {
  Codebook codebook{};
  if (values.empty()) return codebook;
  std::sort(values.begin(), values.end());
  std::vector<float> distinct = values;
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  if (distinct.size() <= codebook.size()) {
    std::copy(distinct.begin(), distinct.end(), codebook.begin());
    std::fill(codebook.begin() + static_cast<ptrdiff_t>(distinct.size()), codebook.end(), distinct.back());
    return codebook;
  }
  std::vector<double> sums(values.size() + 1, 0.0);
  std::partial_sum(values.begin(), values.end(), sums.begin() + 1, std::plus<double>());
  // Half by rank and half by value: quantiles alone leave few codes for what is rare and far away.
  for (size_t i = 0; i < codebook.size(); ++i) {
    const double share = (static_cast<double>(i) + 0.5) / static_cast<double>(codebook.size());
    const auto rank = static_cast<size_t>(share * static_cast<double>(values.size()));
    const double even = values.front() + share * (static_cast<double>(values.back()) - values.front());
    codebook[i] = static_cast<float>(0.5 * values[rank] + 0.5 * even);
  }
  for (int iteration = 0; iteration < kCodebookIterations; ++iteration) {
    size_t begin = 0;
    for (size_t i = 0; i < codebook.size(); ++i) {
      const bool last = i + 1 == codebook.size();
      const float border = last ? 0 : (codebook[i] + codebook[i + 1]) / 2;
      const size_t end =
          last ? values.size()
               : static_cast<size_t>(
                     std::upper_bound(values.begin() + static_cast<ptrdiff_t>(begin), values.end(), border) -
                     values.begin());
      if (end > begin)
        codebook[i] = static_cast<float>((sums[end] - sums[begin]) / static_cast<double>(end - begin));
      begin = end;
    }
  }
  return codebook;
}

uint8_t nearest(const Codebook& codebook, float value) {
  const auto above = std::lower_bound(codebook.begin(), codebook.end(), value);
  if (above == codebook.begin()) return 0;
  if (above == codebook.end()) return static_cast<uint8_t>(codebook.size() - 1);
  const bool lower = value - above[-1] <= *above - value;
  return static_cast<uint8_t>(above - codebook.begin() - (lower ? 1 : 0));
}

Palette palette_of(std::span<const float> values, size_t width, size_t count, int iterations) {
  const size_t rows = values.size() / width;
  Palette palette;
  palette.labels.resize(rows);
  if (rows <= count) {
    palette.rows.assign(values.begin(), values.end());
    std::iota(palette.labels.begin(), palette.labels.end(), 0u);
    return palette;
  }
  for (size_t i = 0; i < count; ++i) {
    const float* row = &values[i * rows / count * width];
    palette.rows.insert(palette.rows.end(), row, row + width);
  }
  for (int iteration = 0;; ++iteration) {
    parallel_for(static_cast<int64_t>(rows), kGrain, [&](int64_t begin, int64_t end) {
      for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i)
        palette.labels[i] = nearest_row(palette.rows, &values[i * width], width);
    });
    if (iteration == iterations) return palette;
    std::vector<double> sums(count * width, 0.0);
    std::vector<size_t> members(count, 0);
    for (size_t i = 0; i < rows; ++i) {
      ++members[palette.labels[i]];
      for (size_t k = 0; k < width; ++k) sums[palette.labels[i] * width + k] += values[i * width + k];
    }
    for (size_t row = 0; row < count; ++row)  // one that nobody chose stays as it was
      for (size_t k = 0; members[row] > 0 && k < width; ++k)
        palette.rows[row * width + k] =
            static_cast<float>(sums[row * width + k] / static_cast<double>(members[row]));
  }
}

}  // namespace eg4d::splat
