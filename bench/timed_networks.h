#pragma once

#include <map>
#include <string>

#include "backend/cpu/testing.h"
#include "backend/forwarding_backend.h"
#include "measure.h"

namespace eg4d::bench {

// Adds up the time of every kind of operation, and the floating-point operations of convolutions.
class TimedNetworks final : public ForwardingBackend {
 public:
  TimedNetworks() : ForwardingBackend(make_cpu_backend()) {}
  struct Total {
    int calls = 0;
    double seconds = 0, flop = 0;
  };
  std::map<std::string, Total> totals;

  size_t peak_allocated_bytes() const { return cpu::peak_allocated_bytes(inner()); }

  void run(const Operation& operation) override {
    const double start = wall_seconds();
    ForwardingBackend::run(operation);
    const double seconds = wall_seconds() - start;
    Total& total = totals[kind(operation)];
    ++total.calls;
    total.seconds += seconds;
    if (const auto* a = std::get_if<Convolution>(&operation)) total.flop += flop(*a);
    if (const auto* a = std::get_if<ConvolutionBackward>(&operation)) total.flop += flop(a->forward);
  }

 private:
  static std::string kind(const Operation& operation) {
    if (const auto* a = std::get_if<Attention>(&operation))
      return a->inner > 1 ? "attention over frames" : "attention over pixels";
    return name_of(operation);
  }
  static double flop(const Convolution& a) {
    const PackedWeight::Extents& w = a.weight->extents;
    const int64_t rows =
        convolution_extent(a.height, w.kernel_height, a.pad_top, a.pad_bottom, a.stride, a.dilation);
    const int64_t columns =
        convolution_extent(a.width, w.kernel_width, a.pad_left, a.pad_right, a.stride, a.dilation);
    return 2.0 *
           static_cast<double>(a.batch * rows * columns * w.in * w.out * w.kernel_height * w.kernel_width);
  }
};

}  // namespace eg4d::bench
