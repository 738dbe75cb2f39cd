#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/gemm.h"
#include "core/threads.h"
#include "measure.h"
#include "nn/tensor.h"

namespace eg4d::bench {

// What one thread of this machine can do: the speed of its memory and of a large matrix product.
struct Machine {
  double bytes_per_second = 0, flops_per_second = 0;
};

inline Machine measure_machine() {
  set_thread_count(1);
  const auto backend = make_cpu_backend();
  // Three arrays read and written, one read, as an optimiser does.
  const int64_t count = 1 << 24;
  std::vector<Tensor> arrays;
  for (int i = 0; i < 4; ++i) arrays.push_back(Tensor::zeros(*backend, {count}));
  float *a = arrays[0].data(), *b = arrays[1].data(), *c = arrays[2].data();
  const float* d = arrays[3].data();
  const double update = median_seconds(9, [&] {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) {
      a[i] += d[i];
      b[i] += d[i];
      c[i] += d[i];
    }
  });
  const int64_t n = 1024;
  const double product = median_seconds(
      5, [&] { cpu::gemm({.m = n, .n = n, .k = n, .a = a, .lda = n, .b = b, .ldb = n, .c = c, .ldc = n}); });
  set_thread_count(0);
  return {static_cast<double>(count) * 28 / update, 2.0 * n * n * n / product};
}

// What a kernel has to do at least.
struct Work {
  std::string name;
  double bytes = 0, flops = 0;
  double plain_seconds = 0;
};

// One row per kernel: against its plain version and against its floor, the larger of its bytes at the
// memory's speed and its operations at the speed of a large matrix product.
class Report {
 public:
  explicit Report(const Machine& machine)
      : machine_(machine),
        table_({"kernel", "plain, 1 thread [ms]", "1 thread [ms]", "faster", "all threads [ms]", "MB",
                "MFLOP", "floor, 1 thread [ms]", "of the floor"}) {}

  template <class Run>
  void measure(const Work& work, const Run& run, int repeats = 15) const {
    const int threads = thread_count();
    const double all = median_seconds(repeats, run, wall_seconds);
    set_thread_count(1);
    const double one = median_seconds(repeats, run);
    set_thread_count(threads);
    const double floor =
        std::max(work.bytes / machine_.bytes_per_second, work.flops / machine_.flops_per_second);
    table_.row({work.name, milliseconds(work.plain_seconds), milliseconds(one),
                fmt::format("{:.1f}x", work.plain_seconds / one), milliseconds(all),
                fmt::format("{:.1f}", work.bytes / 1e6), fmt::format("{:.0f}", work.flops / 1e6),
                milliseconds(floor), fmt::format("{:.0f} %", 100 * floor / one)});
  }

 private:
  Machine machine_;
  Table table_;
};

}  // namespace eg4d::bench
