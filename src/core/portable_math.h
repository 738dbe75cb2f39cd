#pragma once

// Elementary functions whose bits do not depend on the machine: they are made of additions, multiplications,
// divisions and comparisons of doubles alone, which IEEE 754 defines to the last bit. Files that use them are
// compiled without contraction (-ffp-contract=off; on a GPU -fmad=false), which would round differently.
// Errors are a few units in the last place.

#include <bit>
#include <cstdint>

namespace eg4d::portable {

inline constexpr double kLog2 = 0.6931471805599453;

// x positive and normal.
constexpr double log(double x) {
  const auto bits = std::bit_cast<uint64_t>(x);
  int exponent = static_cast<int>(bits >> 52) - 1023;
  auto mantissa = std::bit_cast<double>((bits & 0xfffffffffffffu) | 0x3ff0000000000000u);  // [1, 2)
  if (mantissa > 1.4142135623730951) {
    mantissa *= 0.5;
    ++exponent;
  }
  // log m = 2·artanh(f), f = (m - 1)/(m + 1), |f| < 0.172
  const double f = (mantissa - 1.0) / (mantissa + 1.0), squared = f * f;
  double series = 0;
  for (int k = 21; k >= 3; k -= 2) series = (series + 1.0 / k) * squared;
  return exponent * kLog2 + 2.0 * (f + f * series);
}

// 0 below -700, infinity above 700; NaN stays.
constexpr double exp(double x) {
  if (x != x) return x;
  if (x < -700) return 0;
  if (x > 700) return std::bit_cast<double>(uint64_t{0x7ff0000000000000u});
  const double halves = x / kLog2;
  const int exponent = static_cast<int>(halves < 0 ? halves - 0.5 : halves + 0.5);
  // The part of log 2 that a float holds times the exponent is exact.
  constexpr double kHigh = 0.693145751953125, kLow = 1.4286068203094172e-06;
  const double rest = (x - exponent * kHigh) - exponent * kLow;  // |rest| < 0.347
  double series = 1;
  for (int k = 13; k >= 1; --k) series = 1.0 + series * (rest * (1.0 / k));
  return series * std::bit_cast<double>(static_cast<uint64_t>(exponent + 1023) << 52);
}

struct SinCos {
  double sin = 0, cos = 1;
};
// Of the angle 2π·turn/2³².
constexpr SinCos sin_cos_of_turn(uint32_t turn) {
  constexpr double kRadians = 6.283185307179586 / 4294967296.0;
  // The nearest quarter turn, and what is left of the angle: at most π/4.
  const uint32_t shifted = turn + 0x20000000u;
  const double x = (static_cast<double>(shifted & 0x3fffffffu) - static_cast<double>(0x20000000u)) * kRadians;
  const double squared = x * x;
  double sine = 1, cosine = 1;
  for (int k = 17; k >= 3; k -= 2) sine = 1.0 - sine * (squared * (1.0 / ((k - 1) * k)));
  for (int k = 18; k >= 2; k -= 2) cosine = 1.0 - cosine * (squared * (1.0 / ((k - 1) * k)));
  sine *= x;
  switch (shifted >> 30) {
    case 0:
      return {sine, cosine};
    case 1:
      return {cosine, -sine};
    case 2:
      return {-sine, -cosine};
    default:
      return {-cosine, sine};
  }
}

}  // namespace eg4d::portable
