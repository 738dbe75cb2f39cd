#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "io/mapped_file.h"

// What the splat formats share: how their numbers are packed. Every format is little-endian, as is every
// machine this program runs on.
namespace eg4d::splat {

inline constexpr float kSh0 = 0.28209479177387814f;  // Y_0^0
inline constexpr size_t kRest = 45;                  // floats of a row of GaussianCloud::sh_rest

template <class T>
requires std::is_trivially_copyable_v<T>
void put(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// The caller has seen that the bytes are there.
template <class T>
requires std::is_trivially_copyable_v<T> T get(Bytes from, size_t at) {
  T value;
  std::memcpy(&value, from.data() + at, sizeof value);
  return value;
}

inline float sigmoid(float logit) {
  return 1 / (1 + std::exp(-logit));
}

// Of a probability that was stored in a few bits: 0 and 1 become what is as good and finite.
inline float logit(float probability) {
  const float inside = std::clamp(probability, 1e-6f, 1 - 1e-6f);
  return std::log(inside / (1 - inside));
}

// To the nearest of 0 … most; NaN becomes 0.
inline uint32_t to_level(float value, uint32_t most) {
  const float scaled = value * static_cast<float>(most);
  if (!(scaled > 0)) return 0;
  return scaled >= static_cast<float>(most) ? most : static_cast<uint32_t>(std::floor(scaled + 0.5f));
}

inline uint8_t to_byte(float value_in_0_255) {
  return static_cast<uint8_t>(to_level(value_in_0_255 / 255, 255));
}

// Unit length; what has none (or NaN) becomes the identity. `q`: w, x, y, z.
inline std::array<float, 4> unit_quaternion(const float* q) {
  const float length = std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
  if (!(length > 1e-12f) || !std::isfinite(length)) return {1, 0, 0, 0};
  return {q[0] / length, q[1] / length, q[2] / length, q[3] / length};
}

// A unit quaternion without its largest component, which is positive: q and -q are one rotation. The others
// keep their order and lie within ±1/√2.
struct SmallestThree {
  size_t largest = 0;
  std::array<float, 3> others{};
};

inline SmallestThree smallest_three(std::array<float, 4> q) {
  SmallestThree packed;
  for (size_t i = 1; i < 4; ++i)
    if (std::abs(q[i]) > std::abs(q[packed.largest])) packed.largest = i;
  const float sign = q[packed.largest] < 0 ? -1.f : 1.f;
  for (size_t i = 0, k = 0; i < 4; ++i)
    if (i != packed.largest) packed.others[k++] = sign * q[i];
  return packed;
}

// `packed.largest` below 4; whatever the others are, the result is finite and, where they could be, of unit
// length.
inline std::array<float, 4> from_smallest_three(const SmallestThree& packed) {
  std::array<float, 4> q{};
  float rest = 1;
  for (size_t i = 0, k = 0; i < 4; ++i) {
    if (i == packed.largest) continue;
    q[i] = packed.others[k++];
    rest -= q[i] * q[i];
  }
  q[packed.largest] = std::sqrt(std::max(rest, 0.f));
  return q;
}

}  // namespace eg4d::splat
