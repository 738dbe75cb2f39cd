// A feed-forward network with operands of 8 bits: x is rounded row by row, so is what lies between the layers
// after the gate, and the scales are applied to what the products put out.

#include <algorithm>

#include "backend/cuda/networks/fp8.h"
#include "backend/cuda/networks/layers.h"

namespace eg4d::cuda {

void Layers::run_fp8(const FeedForward& a, Pieces& pieces) {
  const NetworkWeight &widen = weight_of(a.widen), &narrow = weight_of(a.narrow);
  const int64_t in = widen.extents.in, out = narrow.extents.out;
  constexpr int64_t kRowsMultiple = 256;
  constexpr size_t kHalf = 2;
  const int64_t sums_width = std::max(2 * a.inner, out);
  const size_t row_bytes =
      kHalf * static_cast<size_t>(sums_width) + static_cast<size_t>(in + a.inner) + 2 * sizeof(float);
  const int64_t piece =
      kRowsMultiple *
      std::clamp<int64_t>(static_cast<int64_t>(feed_forward_bytes_ / (row_bytes * kRowsMultiple)), 1,
                          (a.rows + kRowsMultiple - 1) / kRowsMultiple);
  const auto rows_of = [&](int64_t width) {
    return QuantizedRows{static_cast<uint8_t*>(pieces.take(static_cast<size_t>(piece * width))),
                         static_cast<float*>(pieces.take(static_cast<size_t>(piece) * sizeof(float)))};
  };
  const QuantizedRows x = rows_of(in), gated = rows_of(a.inner);
  void* const sums = pieces.take(static_cast<size_t>(piece * sums_width) * kHalf);
  const auto product = [&](int64_t rows, const QuantizedRows& operand, const NetworkWeight& w) {
    // Whole multiples, of which what is too much is not looked at.
    const int64_t padded = (rows + kQuantizedMultiple - 1) / kQuantizedMultiple * kQuantizedMultiple;
    multiply({.rows = padded, .in = w.extents.in, .out = w.extents.out, .fp8 = true, .result = DType::f16},
             {.x = operand.numbers, .w = w.data(), .y = sums}, pieces);
    return NumberProduct{.sums = sums,
                         .row_scales = operand.scales,
                         .weight_scales = w.scales(),
                         .bias = w.bias(),
                         .in = w.extents.in};
  };
  const Pieces before = pieces;
  Pieces all = pieces;
  for (int64_t begin = 0; begin < a.rows; begin += piece) {
    const int64_t rows = std::min(piece, a.rows - begin), to = begin * out;
    pieces = before;  // the same memory each time
    const bool enqueues = !pieces.counting();
    if (enqueues) quantize_rows({.rows = rows, .width = in, .x = a.x.at(begin * in), .y = x}, stream_);
    const NumberProduct wide = product(rows, x, widen);
    if (enqueues) gate_product({.rows = rows, .width = a.inner, .x = wide, .y = gated}, stream_);
    const NumberProduct narrowed = product(rows, gated, narrow);
    if (enqueues)
      finish_product({.rows = rows,
                      .width = out,
                      .x = narrowed,
                      .residual = a.residual ? a.residual.at(to) : ConstArray(),
                      .y = a.y.at(to)},
                     stream_);
    if (pieces.used() > all.used()) all = pieces;
  }
  pieces = all;
}

}  // namespace eg4d::cuda
