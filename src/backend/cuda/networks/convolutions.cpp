#include "backend/cuda/networks/convolutions.h"

#include <fmt/format.h>

#include <algorithm>

#include "backend/backend.h"
#include "backend/cuda/check.h"
#include "backend/cuda/networks/measure.h"
#include "backend/cuda/networks/network_kernels.h"

namespace eg4d::cuda {
namespace {

constexpr size_t kEngines = 8, kPlainEngines = 4;  // of cuDNN's that are measured, with and without the rest
constexpr size_t kMostColumnBytes = size_t{256} << 20;
enum Id : int64_t { kX = 1, kW, kBias, kResidual, kY, kProduct, kSum, kBiased };

int64_t out_height(const Convolution& a) {
  return convolution_extent(a.height, a.weight->extents.kernel_height, a.pad_top, a.pad_bottom, a.stride,
                            a.dilation);
}
int64_t out_width(const Convolution& a) {
  return convolution_extent(a.width, a.weight->extents.kernel_width, a.pad_left, a.pad_right, a.stride,
                            a.dilation);
}
int64_t pixels_out(const Convolution& a) {
  return a.batch * out_height(a) * out_width(a);
}

bool is_product(const Convolution& a) {
  const PackedWeight::Extents& w = a.weight->extents;
  return w.kernel_height == 1 && w.kernel_width == 1 && a.stride == 1 && a.pad_top == 0 &&
         a.pad_bottom == 0 && a.pad_left == 0 && a.pad_right == 0;
}

// Its part for `count` output pixels from `begin` on, as a layer of what lies under the kernel there.
Layer layer_of(const Convolution& a, ConstArray under, int64_t begin, int64_t count) {
  const int64_t to = begin * a.weight->extents.out;
  return {.rows = count,
          .x = under,
          .weight = weight_of(a.weight),
          .activation = a.activation,
          .residual = a.residual ? a.residual.at(to) : ConstArray(),
          .y = a.y.at(to)};
}

// [n,height,width,channels] in memory; cuDNN names the channels second.
CudnnTensor pictures(int64_t id, int64_t n, int64_t channels, int64_t height, int64_t width, DType type) {
  return {.id = id,
          .extents = {n, channels, height, width},
          .strides = {height * width * channels, 1, width * channels, channels},
          .type = cudnn_type(type)};
}

}  // namespace

Convolutions::Convolutions(Memory& memory, cudaStream_t stream, Layers& layers, Choices& choices)
    : memory_(memory), stream_(stream), layers_(layers), choices_(choices) {}

CudnnHandle& Convolutions::handle() {
  if (!handle_) handle_.emplace(stream_);
  return *handle_;
}

std::vector<CudnnObject> Convolutions::graph(const Shape& s) {
  const int64_t height = s.out_height(), width = s.out_width();
  const auto tensor = [&](CudnnTensor t) {
    t.alignment = s.alignment;
    return describe(t);
  };
  const CudnnObject x = tensor(pictures(kX, s.batch, s.in, s.height, s.width, s.type));
  const CudnnObject w = tensor(pictures(kW, s.out, s.in, s.kernel_height, s.kernel_width, s.type));
  const CudnnObject y = tensor(pictures(kY, s.batch, s.out, height, width, s.type));
  const auto between = [&](int64_t id) {
    CudnnTensor t = pictures(id, s.batch, s.out, height, width, DType::f32);
    t.between = true;
    return describe(t);
  };
  const bool bias = s.fused && s.bias, residual = s.fused && s.residual, relu = s.fused && s.relu;
  const CudnnObject product = bias || residual || relu ? between(kProduct) : y;

  CudnnObject how(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  how.set_type(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT)
      .set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode)
      .set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, std::vector<int64_t>{2})
      .set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, std::vector{s.stride, s.stride})
      .set(CUDNN_ATTR_CONVOLUTION_DILATIONS, std::vector{s.dilation, s.dilation})
      .set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, std::vector{s.pad_top, s.pad_left})
      .set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, std::vector{s.pad_bottom, s.pad_right})
      .finish();
  CudnnObject convolution(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
  convolution.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, how)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, w)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, product)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 1.0f)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 0.0f)
      .finish();
  std::vector<CudnnObject> operations{convolution};
  CudnnObject sum = product;
  if (residual) {
    const CudnnObject with = bias ? between(kSum) : y;
    operations.push_back(pointwise(CUDNN_POINTWISE_ADD, sum,
                                   tensor(pictures(kResidual, s.batch, s.out, height, width, s.type)), with));
    sum = with;
  }
  if (bias) {
    const CudnnObject with = relu ? between(kBiased) : y;
    operations.push_back(
        pointwise(CUDNN_POINTWISE_ADD, sum, tensor(pictures(kBias, 1, s.out, 1, 1, s.type)), with));
    sum = with;
  }
  if (relu) operations.push_back(pointwise(CUDNN_POINTWISE_RELU_FWD, sum, y));
  return operations;
}

void Convolutions::execute(const CudnnPlan& plan, const Arrays& arrays, void* workspace) {
  std::vector<CudnnPlan::Binding> bindings{{kX, arrays.x}, {kW, arrays.w}, {kY, arrays.y}};
  if (arrays.bias) bindings.push_back({kBias, arrays.bias});
  if (arrays.residual) bindings.push_back({kResidual, arrays.residual});
  plan.run(handle(), bindings, workspace);
}

// By measuring each on memory of its own.
size_t Convolutions::fastest(const std::vector<CudnnPlan>& plans, size_t fused, const Shape& s) {
  const auto count_in = static_cast<size_t>(s.batch * s.height * s.width * s.in);
  const auto count_out = static_cast<size_t>(s.batch * s.out * s.out_height() * s.out_width());
  const auto count_w = static_cast<size_t>(s.out * s.in * s.kernel_height * s.kernel_width + s.out);
  MeasuringMemory memory(memory_, stream_);
  size_t most = 1;
  for (const CudnnPlan& plan : plans) most = std::max(most, plan.workspace_bytes());
  void *const x = memory.take(count_in * size_of(s.type)), *const w = memory.take(count_w * size_of(s.type)),
              *const y = memory.take(count_out * size_of(s.type)), *const workspace = memory.take(most);
  size_t best = 0;
  float best_time = 0;
  for (size_t i = 0; i < plans.size(); ++i) {
    const bool whole = i < fused;
    const float time = milliseconds(
        stream_,
        [&] {
          execute(plans[i], {x, w, whole && s.bias ? w : nullptr, whole && s.residual ? y : nullptr, y},
                  workspace);
          if (!whole && (s.bias || s.residual || s.relu))
            finish({.rows = static_cast<int64_t>(count_out) / s.out,
                    .width = s.out,
                    .x = {y, s.type},
                    .activation = s.relu ? Activation::relu : Activation::none,
                    .residual = {s.residual ? y : nullptr, s.type},
                    .y = {y, s.type}},
                   stream_);
        },
        best_time);
    if (i > 0 && time >= best_time) continue;
    best = i;
    best_time = time;
  }
  return best;
}

// Is it worth measuring? Tests' convolutions are not.
bool Convolutions::is_large(const Shape& s) {
  return s.batch * s.height * s.width * s.in * s.out * s.kernel_height * s.kernel_width >= int64_t{1} << 30;
}

std::string Convolutions::text(const Shape& s) {
  return fmt::format(
      "convolution {}×{}×{}×{} to {}, kernel {}×{}, stride {}, dilation {}, pads {} {} {} {}, {}{}{}{}{}, "
      "alignment {}",
      s.batch, s.height, s.width, s.in, s.out, s.kernel_height, s.kernel_width, s.stride, s.dilation,
      s.pad_top, s.pad_bottom, s.pad_left, s.pad_right, name_of(s.type), s.bias ? " + bias" : "",
      s.residual ? " + residual" : "", s.relu ? ", relu" : "", s.fused ? "" : " after", s.alignment);
}

// None where cuDNN refuses.
std::vector<CudnnPlan> Convolutions::engines(const Shape& shape, size_t most) {
  try {
    return CudnnPlan::find(handle(), graph(shape), most);
  } catch (const CudnnRefusal&) {
    return {};
  }
}

Convolutions::Found Convolutions::find(const Shape& shape) {
  const bool measured = choices_.measures() && is_large(shape);
  Shape plain = shape;
  plain.fused = plain.bias = plain.residual = plain.relu = false;
  try {
    std::vector<CudnnPlan> plans;
    if (shape.fused) plans = engines(shape, measured ? kEngines : 1);
    const size_t fused = plans.size();
    if (measured || plans.empty())
      for (CudnnPlan& plan : engines(plain, !measured ? 1 : plans.empty() ? kEngines : kPlainEngines))
        plans.push_back(std::move(plan));
    if (plans.empty()) return {};
    size_t best = 0;
    if (measured && plans.size() > 1)
      best = choices_.choose(text(shape), plans.size(), [&] { return fastest(plans, fused, shape); });
    return {std::move(plans[best]), best < fused};
  } catch (const NotOnThisDevice&) {  // there is no cuDNN
    return {};
  }
}

const Convolutions::Found& Convolutions::plan_for(const Convolution& a) {
  static const Found kNone;
  const NetworkWeight& w = weight_of(a.weight);
  if (way_ == Way::columns || (w.operands == DType::f32 && !w.tf32)) return kNone;
  const bool same_types =
      a.x.type == w.operands && a.y.type == w.operands && (!a.residual || a.residual.type == w.operands);
  // The residual is added behind the activation, the graph's before it.
  const bool relu = a.activation == Activation::relu && !a.residual;
  Shape shape{.batch = a.batch,
              .height = a.height,
              .width = a.width,
              .in = w.extents.in,
              .out = w.extents.out,
              .kernel_height = w.extents.kernel_height,
              .kernel_width = w.extents.kernel_width,
              .stride = a.stride,
              .dilation = a.dilation,
              .pad_top = a.pad_top,
              .pad_bottom = a.pad_bottom,
              .pad_left = a.pad_left,
              .pad_right = a.pad_right,
              .alignment = 16,
              .type = w.operands,
              .bias = w.bias() != nullptr,
              .residual = static_cast<bool>(a.residual),
              .relu = relu,
              .fused = way_ == Way::fused && same_types && (a.activation == Activation::none || relu)};
  for (const void* address : {a.x.data, static_cast<const void*>(a.y.data), a.residual.data})
    shape.alignment = std::min<int64_t>(shape.alignment, alignment_of(address));
  const auto known = plans_.find(shape);
  return known != plans_.end() ? known->second : plans_.emplace(shape, find(shape)).first->second;
}

std::string Convolutions::engine_of(const Convolution& a) {
  if (is_product(a)) return "product";
  const Found& found = plan_for(a);
  return found.plan ? found.plan->engine() + (found.fused ? "" : ", then the rest") : "columns";
}

void Convolutions::run_planned(const Convolution& a, const CudnnPlan& plan, bool fused, Pieces& pieces) {
  const NetworkWeight& w = weight_of(a.weight);
  const int64_t pixels = pixels_out(a);
  const ConstArray x = in_type(w.operands, a.x, a.batch * a.height * a.width * w.extents.in, pieces, stream_);
  const bool direct =
      fused || (!w.bias() && !a.residual && a.activation == Activation::none && a.y.type == w.operands);
  const Array y =
      direct
          ? a.y
          : Array(pieces.take(static_cast<size_t>(pixels * w.extents.out) * size_of(w.operands)), w.operands);
  void* const workspace = pieces.take(plan.workspace_bytes());
  if (pieces.counting()) return;
  execute(
      plan,
      {x.data, w.data(), fused ? w.bias_of_operands() : nullptr, fused ? a.residual.data : nullptr, y.data},
      workspace);
  if (!direct) finish(layer_of(a, {}, 0, pixels), y, stream_);
}

void Convolutions::run_columns(const Convolution& a, Pieces& pieces) {
  const NetworkWeight& w = weight_of(a.weight);
  const size_t row_bytes = static_cast<size_t>(w.inputs()) * size_of(w.operands);
  const int64_t pixels = pixels_out(a);
  const int64_t piece = std::clamp<int64_t>(static_cast<int64_t>(kMostColumnBytes / row_bytes) / 256 * 256,
                                            256, std::max<int64_t>(pixels, 256));
  const Array under(pieces.take(static_cast<size_t>(std::min(piece, pixels)) * row_bytes), w.operands);
  const Pieces before = pieces;
  Pieces all = pieces;
  for (int64_t begin = 0; begin < pixels; begin += piece) {
    const int64_t count = std::min(piece, pixels - begin);
    pieces = before;
    if (!pieces.counting()) columns({.convolution = a, .begin = begin, .count = count, .to = under}, stream_);
    layers_.run(layer_of(a, under, begin, count), pieces);
    if (pieces.used() > all.used()) all = pieces;
  }
  pieces = all;
}

void Convolutions::run(const Convolution& a, Pieces& pieces) {
  if (pixels_out(a) == 0) return;
  if (is_product(a)) return layers_.run(layer_of(a, a.x, 0, pixels_out(a)), pieces);
  if (const Found& found = plan_for(a); found.plan) return run_planned(a, *found.plan, found.fused, pieces);
  run_columns(a, pieces);
}

void Convolutions::run(const ConvolutionBackward& a, Pieces& pieces) {
  const Convolution& f = a.forward;
  const NetworkWeight& w = weight_of(f.weight);
  const int64_t pixels = pixels_out(f), count = pixels * w.extents.out;
  if (pixels == 0) return;
  const float* d_y = a.d_y;
  if (f.activation == Activation::relu) {
    auto* const masked = static_cast<float*>(pieces.take(static_cast<size_t>(count) * sizeof(float)));
    if (!pieces.counting()) relu_gradient(f.y, a.d_y, count, masked, stream_);
    d_y = masked;
  }
  // Rows of whole 16 bytes, as the library's fast ways want them.
  constexpr int64_t kMultiple = 4;
  const int64_t pitch = (w.inputs() + kMultiple - 1) / kMultiple * kMultiple;
  auto* const under = static_cast<float*>(pieces.take(static_cast<size_t>(pixels * pitch) * sizeof(float)));
  layers_.run_back(pixels, d_y, w, nullptr, under, pitch, pieces);
  if (!pieces.counting()) add_columns(f, under, pitch, a.d_x, stream_);
}

}  // namespace eg4d::cuda
