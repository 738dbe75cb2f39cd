#pragma once

// The instruction sets that the CPU kernels are compiled for; which one runs is chosen at run time: plain
// C++, AVX2 with FMA, AVX-512, NEON. What lies between costs compile time and gains little; kernels that keep
// vectors in structures cannot be compiled for SVE. Include before highway.h.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE_256 | HWY_SVE2 | HWY_SVE2_128)
