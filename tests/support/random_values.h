#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/random.h"
#include "core/threads.h"
#include "nn/tensor.h"

namespace eg4d::test {

template <class T = float>
std::vector<T> uniform_values(Philox& random, int64_t count, T low, T high) {
  std::vector<T> values(static_cast<size_t>(count));
  for (T& v : values) v = low + (high - low) * static_cast<T>(random.uniform());
  return values;
}

template <class To, class From>
std::vector<To> converted(const std::vector<From>& values) {
  return std::vector<To>(values.begin(), values.end());
}

// A flat tensor of these values.
inline Tensor upload(Backend& backend, const std::vector<float>& values) {
  return Tensor::from_host(backend, {static_cast<int64_t>(values.size())}, values);
}

// Equal to the bit, NaNs included.
inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// True when run() returns the same bits with 1, 2, 3 and 7 threads.
template <class Run>
bool same_bits_for_any_thread_count(const Run& run) {
  const int threads = thread_count();
  std::vector<std::vector<float>> results;
  for (const int count : {1, 2, 3, 7}) {
    set_thread_count(count);
    results.push_back(run());
  }
  set_thread_count(threads);
  return std::all_of(results.begin(), results.end(),
                     [&](const std::vector<float>& result) { return same_bits(results[0], result); });
}

// The derivative of value() with respect to x by central differences.
template <class Value>
double central_difference(double& x, double step, const Value& value) {
  const double middle = x;
  x = middle + step;
  const double above = value();
  x = middle - step;
  const double below = value();
  x = middle;
  return (above - below) / (2 * step);
}

}  // namespace eg4d::test
