#pragma once

// A stable sort of 32-bit keys with 32-bit items, a kernel per digit of 8 bits (Merrill and Garland,
// "Single-pass parallel prefix scan with decoupled look-back"; Adinets and Merrill, "Onesweep"). Tiles are
// small, so that half a million keys occupy a whole GPU. Whoever makes the keys counts their digits on the
// way.

#include <cuda_runtime_api.h>

#include <cstdint>

namespace eg4d::cuda {

inline constexpr int kRadixBits = 8, kRadix = 1 << kRadixBits, kMostDigits = 4;

struct RadixSort {
  uint32_t count;  // below 2^30
  int digits;      // of 8 bits, from the lowest on
  // [digits] The arrays that a pass reads and the ones it writes; the first two may be the last two.
  uint32_t *keys[2], *items[2];  // read by the first pass, written by it; the result is in [digits % 2]
  // What has to be zero before: `clear` of them.
  uint32_t* histogram;  // [kMostDigits, kRadix] how often each digit occurs
  uint32_t* states;     // [digits, tiles, kRadix] what tiles know of the tiles before
  uint32_t* tickets;    // [kMostDigits]
};

// Words to be cleared, from `histogram` on; the others follow it.
int64_t radix_sort_words(uint32_t count, int digits);
// Gives histogram, states and tickets their places.
void place_radix_sort(RadixSort& sort, uint32_t* words);
// After keys, items and histogram were made.
void radix_sort(const RadixSort& sort, cudaStream_t stream);

}  // namespace eg4d::cuda
