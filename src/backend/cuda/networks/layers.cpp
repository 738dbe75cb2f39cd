#include "backend/cuda/networks/layers.h"

#include <algorithm>

#include "backend/backend.h"
#include "backend/cuda/networks/network_kernels.h"
#include "backend/cuda/sm90/gated_product.h"

namespace eg4d::cuda {
namespace {

// What lies between the two layers of a feed-forward network, at most: whole, that of a video is 532 MiB.
constexpr size_t kFeedForwardBytes = size_t{576} << 20;
// Where a cap is small enough that this counts.
constexpr size_t kSmallCap = size_t{6} << 30, kSmallFeedForwardBytes = size_t{192} << 20;
// Of longer sums the gate is a small part, and the library's product is faster.
constexpr int64_t kLongestGated = 1024;

}  // namespace

ConstArray in_type(DType type, ConstArray x, int64_t count, Pieces& pieces, cudaStream_t stream) {
  if (x.type == type) return x;
  const Array copy(pieces.take(static_cast<size_t>(count) * size_of(type)), type);
  if (!pieces.counting()) convert({.count = count, .x = x, .y = copy}, stream);
  return copy;
}

void finish(const Layer& a, ConstArray product, cudaStream_t stream) {
  finish({.rows = a.rows,
          .width = a.weight.extents.out,
          .x = product,
          .bias = a.weight.bias(),
          .activation = a.activation,
          .residual = a.residual,
          .y = a.y},
         stream);
}

Layers::Layers(Memory& memory, cudaStream_t stream, Choices& choices)
    : stream_(stream),
      products_(memory, stream, choices),
      feed_forward_bytes_(memory.capped() && memory.cap() <= kSmallCap ? kSmallFeedForwardBytes
                                                                       : kFeedForwardBytes) {}

void Layers::multiply(const ProductShape& shape, const ProductArrays& arrays, Pieces& pieces) {
  Products::Plan& plan = products_.plan(shape);
  void* const workspace = pieces.take(Products::workspace_bytes(plan));
  if (!pieces.counting()) products_.run(plan, arrays, workspace);
}

// The product writes y itself where it can; otherwise it leaves f32 for a second kernel.
void Layers::run(const Layer& a, Pieces& pieces) {
  const NetworkWeight& w = a.weight;
  const int64_t outputs = w.extents.out;
  if (a.rows == 0 || outputs == 0) return;
  if (w.fp8) throw NotOnThisDevice("products of 8 bits are for feed-forward networks alone");
  const ConstArray x = in_type(w.operands, a.x, a.rows * w.inputs(), pieces, stream_);
  const bool direct = a.activation == Activation::none &&
                      (a.y.type == w.operands || a.y.type == DType::f32) &&
                      (!a.residual || a.residual.type == a.y.type);
  const Array y =
      direct ? a.y : Array(pieces.take(static_cast<size_t>(a.rows * outputs) * sizeof(float)), DType::f32);
  ProductShape shape{.rows = a.rows,
                     .in = w.inputs(),
                     .out = outputs,
                     .operands = w.operands,
                     .result = y.type,
                     .tf32 = w.tf32,
                     .bias = direct && w.bias() != nullptr,
                     .residual = direct && a.residual,
                     .x_alignment = alignment_of(x.data),
                     .y_alignment = alignment_of(y.data)};
  if (shape.residual) shape.residual_alignment = alignment_of(a.residual.data);
  multiply(shape,
           {.x = x.data,
            .w = w.data(),
            .bias = y.type == DType::f32 ? w.bias() : w.bias_of_operands(),
            .residual = a.residual.data,
            .y = y.data},
           pieces);
  if (!direct && !pieces.counting()) finish(a, y, stream_);
}

void Layers::run(const Linear& a, Pieces& pieces) {
  run(Layer{.rows = a.rows,
            .x = a.x,
            .weight = weight_of(a.weight),
            .activation = a.activation,
            .residual = a.residual,
            .y = a.y},
      pieces);
}

void Layers::run_back(int64_t rows, const float* x, const NetworkWeight& weight, const float* residual,
                      float* y, int64_t pitch, Pieces& pieces) {
  if (weight.operands != DType::f32)
    throw NotOnThisDevice("gradients are computed in f32, with weights of f32");
  if (rows == 0) return;
  const int64_t inputs = weight.inputs(), outputs = weight.extents.out;
  if (pitch == 0) pitch = inputs;
  const void* w = weight.data();
  if (pitch != inputs) {  // the weight's rows as far apart
    const Array apart(pieces.take(static_cast<size_t>(outputs * pitch) * sizeof(float)), DType::f32);
    if (!pieces.counting())
      copy_rows({.rows = outputs,
                 .width = inputs,
                 .from = {w, DType::f32},
                 .from_pitch = inputs,
                 .to = apart,
                 .to_pitch = pitch},
                stream_);
    w = apart.data;
  }
  ProductShape shape{.rows = rows,
                     .in = pitch,
                     .out = outputs,
                     .tf32 = weight.tf32,
                     .form = ProductShape::Form::back,
                     .residual = residual != nullptr,
                     .x_alignment = alignment_of(x),
                     .y_alignment = alignment_of(y)};
  if (residual) shape.residual_alignment = alignment_of(residual);
  multiply(shape, {.x = x, .w = w, .residual = residual, .y = y}, pieces);
}

void Layers::run(const LinearBackward& a, Pieces& pieces) {
  run_back(a.forward.rows, a.d_y, weight_of(a.forward.weight), a.d_x, a.d_x, 0, pieces);
}

// In pieces, so that what lies between stays small.
void Layers::run(const FeedForward& a, Pieces& pieces) {
  if (a.rows == 0) return;
  const NetworkWeight &widen = weight_of(a.widen), &narrow = weight_of(a.narrow);
  if (widen.fp8 && narrow.fp8) return run_fp8(a, pieces);
  const DType type = narrow.operands;
  GatedProduct gate{.rows = a.rows,
                    .in = widen.extents.in,
                    .width = a.inner,
                    .x = a.x,
                    .w = widen.data(),
                    .bias = widen.bias(),
                    .y = {nullptr, type}};
  const bool at_once = use_gated_product_ && widen.operands == a.x.type && gate.in <= kLongestGated &&
                       gated_product_takes(gate);
  const size_t row_bytes = static_cast<size_t>((at_once ? 1 : 3) * a.inner) * size_of(type);
  const int64_t blocks = std::max<int64_t>(static_cast<int64_t>(feed_forward_bytes_ / (row_bytes * 256)), 1);
  const int64_t piece = std::min(a.rows, 256 * blocks);
  const auto room = [&](int64_t width) {
    return Array(pieces.take(static_cast<size_t>(piece * width) * size_of(type)), type);
  };
  const Array gated = room(a.inner), wide = at_once ? Array() : room(2 * a.inner);
  const Pieces before = pieces;
  Pieces all = pieces;
  for (int64_t begin = 0; begin < a.rows; begin += piece) {
    const int64_t rows = std::min(piece, a.rows - begin), to = begin * narrow.extents.out;
    const ConstArray x = a.x.at(begin * widen.extents.in);
    pieces = before;  // the same memory each time
    if (at_once) {
      gate.rows = rows;
      gate.x = x;
      gate.y = gated;
      if (!pieces.counting()) gated_product(gate, stream_);
    } else {
      run(Layer{.rows = rows, .x = x, .weight = widen, .y = wide}, pieces);
      if (!pieces.counting()) geglu({.rows = rows, .width = a.inner, .x = wide, .y = gated}, stream_);
    }
    run(Layer{.rows = rows,
              .x = gated,
              .weight = narrow,
              .residual = a.residual ? a.residual.at(to) : ConstArray(),
              .y = a.y.at(to)},
        pieces);
    if (pieces.used() > all.used()) all = pieces;
  }
  pieces = all;
}

}  // namespace eg4d::cuda
