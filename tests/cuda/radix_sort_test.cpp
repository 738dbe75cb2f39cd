#include "backend/cuda/radix_sort.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "cuda/support/device.h"
#include "random/random.h"

namespace eg4d::test {
namespace {

using Words = std::vector<uint32_t>;

// Keys of so many digits, of which each takes at most `values` values, with their numbers as items.
void expect_sorted(uint32_t count, int digits, uint32_t values) {
  SCOPED_TRACE(testing::Message() << count << " keys of " << digits << " digits, " << values << " values");
  Philox random(count, static_cast<uint64_t>(digits));
  Words keys(count), numbers(count), order(count),
      words(static_cast<size_t>(cuda::radix_sort_words(count, digits)));
  for (uint32_t& key : keys)
    for (int digit = 0; digit < digits; ++digit) {
      const auto value = static_cast<uint32_t>(random.uniform() * static_cast<float>(values)) % values;
      key |= value << (digit * cuda::kRadixBits);
      ++words[static_cast<size_t>(digit) * cuda::kRadix + value];
    }
  std::iota(numbers.begin(), numbers.end(), 0u);
  order = numbers;
  std::ranges::stable_sort(order, {}, [&](uint32_t i) { return keys[i]; });
  const DeviceBuffer<uint32_t> device_keys(keys), device_numbers(numbers), other_keys(count),
      other_numbers(count), device_words(words);
  cuda::RadixSort sort{.count = count,
                       .digits = digits,
                       .keys = {device_keys.data(), other_keys.data()},
                       .items = {device_numbers.data(), other_numbers.data()},
                       .histogram = nullptr,
                       .states = nullptr,
                       .tickets = nullptr};
  cuda::place_radix_sort(sort, device_words.data());
  cuda::radix_sort(sort, nullptr);
  const bool odd = digits % 2 == 1;
  EXPECT_EQ((odd ? other_numbers : device_numbers).to_host(), order);
  for (size_t i = 0; i < order.size(); ++i) order[i] = keys[order[i]];
  EXPECT_EQ((odd ? other_keys : device_keys).to_host(), order);
}

// Small enough for sanitizers, which take a hundred times as long.
TEST(CudaRadixSort, AFewForEachKernel) {
  EG4D_NEEDS_GPU();
  expect_sorted(5000, 3, 256);
}

TEST(CudaRadixSort, StableForAnyNumberOfKeysAndDigits) {
  EG4D_NEEDS_GPU();
  for (const uint32_t count : {1u, 2047u, 2048u, 2049u, 100000u, 700001u})
    for (const int digits : {1, 2, 3, 4}) expect_sorted(count, digits, 256);
  expect_sorted(500000, 3, 1);
  expect_sorted(500000, 3, 3);
}

}  // namespace
}  // namespace eg4d::test
