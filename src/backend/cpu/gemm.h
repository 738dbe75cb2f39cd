#pragma once

#include <cstdint>

namespace eg4d::cpu {

// C[m,n] = op(A)·op(B) + beta·C, row-major, A stored with rows of `lda` floats and so on; op transposes when
// asked. Runs on the calling thread alone (oneDNN's own partition changes the rounding with the number of
// threads), so the caller decides how the work is divided.
struct Gemm {
  int64_t m = 0, n = 0, k = 0;
  const float* a = nullptr;  // [m,k], or [k,m] with transpose_a
  int64_t lda = 0;
  bool transpose_a = false;
  const float* b = nullptr;  // [k,n], or [n,k] with transpose_b
  int64_t ldb = 0;
  bool transpose_b = false;
  float* c = nullptr;  // [m,n]
  int64_t ldc = 0;
  float beta = 0;
};
void gemm(const Gemm& gemm);

}  // namespace eg4d::cpu
