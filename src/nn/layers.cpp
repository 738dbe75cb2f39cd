#include "nn/layers.h"

#include <algorithm>

namespace eg4d {
namespace {

Shape with_last(const Tensor& x, int64_t extent) {
  Shape shape = x.shape();
  shape.back() = extent;
  return shape;
}

int64_t rows_of(const Tensor& x) {
  return x.shape().back() == 0 ? 0 : x.count() / x.shape().back();
}

}  // namespace

Tensor LinearLayer::operator()(Session& session, const Tensor& x, Activation activation) const {
  Tensor y = session.empty(with_last(x, out));
  session.run(Linear{
      .rows = rows_of(x), .x = x.array(), .weight = weight.get(), .activation = activation, .y = y.array()});
  return y;
}

void LinearLayer::into(Session& session, const Tensor& x, const Tensor& y) const {
  session.run(Linear{.rows = rows_of(x), .x = x.array(), .weight = weight.get(), .y = y.array()});
}

void LinearLayer::add_to(Session& session, const Tensor& x, const Tensor& y) const {
  session.run(Linear{
      .rows = rows_of(x), .x = x.array(), .weight = weight.get(), .residual = y.array(), .y = y.array()});
}

void LinearLayer::backward(Session& session, const Tensor& d_y, const Tensor& d_x) const {
  session.run(LinearBackward{{.rows = rows_of(d_y), .weight = weight.get()}, d_y.data(), d_x.data()});
}

// ---------------------------------------------------------------- convolution

Convolution ConvolutionLayer::describe(const Tensor& x) const {
  Convolution a;
  a.batch = x.dim(0);
  a.height = x.dim(1);
  a.width = x.dim(2);
  a.pad_top = a.pad_bottom = kernel_height / 2;
  a.pad_left = a.pad_right = kernel_width / 2;
  a.x = x.array();
  a.weight = weight.get();
  return a;
}

Convolution ConvolutionLayer::describe_over_frames(const Tensor& x, int64_t frames) const {
  Convolution a = describe(x);
  a.width = x.dim(1) * x.dim(2);
  a.batch = x.dim(0) / frames;
  a.height = frames;
  return a;
}

Tensor ConvolutionLayer::operator()(Session& session, const Tensor& x) const {
  Tensor y = session.empty(with_last(x, out));
  Convolution a = describe(x);
  a.y = y.array();
  session.run(a);
  return y;
}

void ConvolutionLayer::add(Session& session, const Tensor& x, const Tensor& residual, const Tensor& y) const {
  Convolution a = describe(x);
  a.residual = residual.array();
  a.y = y.array();
  session.run(a);
}

Convolution ConvolutionLayer::describe_halving(const Tensor& x, Padding padding) const {
  Convolution a = describe(x);
  a.stride = 2;
  if (padding == Padding::right_and_bottom) a.pad_top = a.pad_left = 0;
  return a;
}

Tensor ConvolutionLayer::halve(Session& session, const Tensor& x, Padding padding) const {
  Convolution a = describe_halving(x, padding);
  const int64_t height = convolution_extent(a.height, kernel_height, a.pad_top, a.pad_bottom, a.stride);
  const int64_t width = convolution_extent(a.width, kernel_width, a.pad_left, a.pad_right, a.stride);
  Tensor y = session.empty({a.batch, height, width, out});
  a.y = y.array();
  session.run(a);
  return y;
}

void ConvolutionLayer::backward(Session& session, const Tensor& d_y, const Tensor& d_x) const {
  session.run(ConvolutionBackward{describe(d_x), d_y.data(), d_x.data()});
}

void ConvolutionLayer::halve_backward(Session& session, const Tensor& d_y, const Tensor& d_x,
                                      Padding padding) const {
  session.run(ConvolutionBackward{describe_halving(d_x, padding), d_y.data(), d_x.data()});
}

Tensor ConvolutionLayer::over_frames(Session& session, const Tensor& x, int64_t frames) const {
  Tensor y = session.empty(with_last(x, out));
  Convolution a = describe_over_frames(x, frames);
  a.y = y.array();
  session.run(a);
  return y;
}

void ConvolutionLayer::add_over_frames(Session& session, const Tensor& x, const Tensor& y,
                                       int64_t frames) const {
  Convolution a = describe_over_frames(x, frames);
  a.residual = y.array();
  a.y = y.array();
  session.run(a);
}

// ---------------------------------------------------------------- norms

namespace {

// Without a result.
GroupNorm describe_norm(const NormLayer& layer, const Tensor& x, const GroupNormUse& use) {
  GroupNorm a;
  const int64_t pixels = x.dim(1) * x.dim(2);
  a.batch = x.dim(0) / use.pictures;
  a.positions = pixels * use.pictures;
  a.channels = x.dim(3);
  a.groups = kGroups;
  a.epsilon = layer.epsilon;
  a.x = x.array();
  a.scale = layer.scale.data();
  a.shift = layer.shift.data();
  if (use.add.defined()) a.add = use.add.array();
  a.add_positions = pixels;
  a.activation = use.activation;
  return a;
}

}  // namespace

void group_norm(Session& session, const NormLayer& layer, const Tensor& x, const Tensor& y,
                const GroupNormUse& use) {
  GroupNorm a = describe_norm(layer, x, use);
  a.y = y.array();
  session.run(a);
}

void group_norm_backward(Session& session, const NormLayer& layer, const Tensor& x, const Tensor& d_y,
                         const Tensor& d_x, const GroupNormUse& use) {
  session.run(GroupNormBackward{describe_norm(layer, x, use), d_y.data(), d_x.data()});
}

Tensor group_norm(Session& session, const NormLayer& layer, const Tensor& x, const GroupNormUse& use) {
  Tensor y = session.empty(x.shape());
  group_norm(session, layer, x, y, use);
  return y;
}

LayerNorm describe_layer_norm(const NormLayer& layer, const Tensor& x, const Tensor& y) {
  LayerNorm a;
  a.rows = rows_of(x);
  a.width = x.shape().back();
  a.epsilon = layer.epsilon;
  a.x = x.array();
  a.scale = layer.scale.data();
  a.shift = layer.shift.data();
  a.y = y.array();
  return a;
}

Tensor layer_norm(Session& session, const NormLayer& layer, const Tensor& x, const LayerNormUse& use) {
  Tensor y = session.empty(x.shape());
  LayerNorm a = describe_layer_norm(layer, x, y);
  if (use.add.defined()) {
    a.add = use.add.array();
    a.rows_per_add = use.rows_per_add;
    a.add_rows = use.add.dim(0);
    a.sum = use.sum.array();
  }
  session.run(a);
  return y;
}

// ---------------------------------------------------------------- the rest

void FeedForwardLayer::add_to(Session& session, const Tensor& x, const Tensor& y) const {
  session.run(FeedForward{.rows = rows_of(x),
                          .inner = narrow.in,
                          .x = x.array(),
                          .widen = widen.weight.get(),
                          .narrow = narrow.weight.get(),
                          .residual = y.array(),
                          .y = y.array()});
}

void copy(Session& session, const Tensor& from, const Tensor& to) {
  session.run(Convert{.count = from.count(), .x = from.array(), .y = to.array()});
}

Tensor in_session_type(Session& session, const Tensor& x) {
  if (x.dtype() == session.type()) return x;
  Tensor converted = session.empty(x.shape());
  copy(session, x, converted);
  return converted;
}

void blend(Session& session, const Tensor& a, const Tensor& b, float weight, const Tensor& to) {
  session.run(ScaledSum{.count = a.count(),
                        .a = a.array(),
                        .b = b.array(),
                        .a_scale = weight,
                        .b_scale = 1 - weight,
                        .y = to.array()});
}

Tensor concatenate_channels(Session& session, const Tensor& a, const Tensor& b) {
  const int64_t first = a.shape().back(), second = b.shape().back();
  Tensor y = session.empty(with_last(a, first + second));
  session.run(CopyRows{.rows = rows_of(a),
                       .width = first,
                       .from = a.array(),
                       .from_pitch = first,
                       .to = y.array(),
                       .to_pitch = first + second});
  session.run(CopyRows{.rows = rows_of(b),
                       .width = second,
                       .from = b.array(),
                       .from_pitch = second,
                       .to = y.array().at(first),
                       .to_pitch = first + second});
  return y;
}

Tensor upsample(Session& session, const Tensor& x) {
  Tensor y = session.empty({x.dim(0), 2 * x.dim(1), 2 * x.dim(2), x.dim(3)});
  session.run(Upsample{.batch = x.dim(0),
                       .height = x.dim(1),
                       .width = x.dim(2),
                       .channels = x.dim(3),
                       .x = x.array(),
                       .y = y.array()});
  return y;
}

Tensor resize_features(Session& session, const Tensor& x, int64_t height, int64_t width, bool align_corners) {
  if (x.dim(1) == height && x.dim(2) == width) return x;
  Tensor y = session.empty({x.dim(0), height, width, x.dim(3)});
  session.run(ResizeFeatures{.batch = x.dim(0),
                             .height = x.dim(1),
                             .width = x.dim(2),
                             .channels = x.dim(3),
                             .out_height = height,
                             .out_width = width,
                             .x = x.array(),
                             .y = y.array(),
                             .align_corners = align_corners});
  return y;
}

Tensor max_pool(Session& session, const Tensor& x, int64_t kernel) {
  MaxPool a;
  a.batch = x.dim(0);
  a.height = x.dim(1);
  a.width = x.dim(2);
  a.channels = x.dim(3);
  a.kernel = kernel;
  a.out_height = pool_extent(a.height, a.kernel, a.stride, false);
  a.out_width = pool_extent(a.width, a.kernel, a.stride, false);
  Tensor y = session.empty({a.batch, a.out_height, a.out_width, a.channels});
  a.x = x.array();
  a.y = y.array();
  session.run(a);
  return y;
}

}  // namespace eg4d
