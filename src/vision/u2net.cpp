#include "vision/u2net.h"

#include <fmt/format.h>

#include <cmath>

#include "core/error.h"
#include "nn/packed_convolution.h"
#include "vision/u2net_stages.h"

namespace eg4d {
namespace {

constexpr float kBatchNormEpsilon = 1e-5f;

// Convolution, batch norm (folded into it) and ReLU.
struct Unit {
  ConvolutionLayer layer;
  int64_t dilation = 1;
};

struct Block {
  Unit in;
  std::vector<Unit> down, up;
  bool pooled = true;
};

// w' = w·g / √(v + ε), b' = (b - m)·g / √(v + ε) + s
void fold_batch_norm(const Loader& loader, const std::string& norm, std::vector<float>& weight,
                     std::vector<float>& bias) {
  const auto channels = static_cast<int64_t>(bias.size());
  const auto values = [&](const char* name) {
    return loader.values(fmt::format("{}.{}", norm, name), {channels});
  };
  const std::vector<float> gain = values("weight"), shift = values("bias"), mean = values("running_mean"),
                           variance = values("running_var");
  if (loader.checking()) return;
  const size_t taps = weight.size() / bias.size();
  for (size_t o = 0; o < bias.size(); ++o) {
    const float scale = gain[o] / std::sqrt(variance[o] + kBatchNormEpsilon);
    for (size_t i = 0; i < taps; ++i) weight[o * taps + i] *= scale;
    bias[o] = (bias[o] - mean[o]) * scale + shift[o];
  }
}

Unit build_unit(const Loader& loader, int64_t in, int64_t dilation) {
  constexpr int64_t kernel = 3;
  const int64_t out = loader.extent({{"conv_s1.weight", 0}, {"conv_s1.bias", 0}});
  std::vector<float> weight = loader.values("conv_s1.weight", {out, in, kernel, kernel}),
                     bias = loader.values("conv_s1.bias", {out});
  if (loader.checking()) bias.resize(static_cast<size_t>(out));
  if (loader.has_below("bn_s1")) fold_batch_norm(loader, "bn_s1", weight, bias);
  return {packed_convolution(loader, {in, out, kernel, kernel, nullptr}, weight, bias), dilation};
}

Block build_block(const Loader& loader, const U2NetStage& stage, int64_t in) {
  Block block;
  block.pooled = !stage.dilated;
  block.in = build_unit(loader.at("rebnconvin"), in, 1);
  int64_t width = block.in.layer.out;
  for (int i = 0; i < stage.height; ++i) {
    block.down.push_back(
        build_unit(loader.at(fmt::format("rebnconv{}", i + 1)), width, down_dilation(stage, i)));
    width = block.down.back().layer.out;
  }
  block.up.resize(static_cast<size_t>(stage.height - 1));
  for (int i = stage.height - 1; i-- > 0;) {
    const auto at = static_cast<size_t>(i);
    block.up[at] = build_unit(loader.at(fmt::format("rebnconv{}d", i + 1)), width + block.down[at].layer.out,
                              up_dilation(stage, i));
    width = block.up[at].layer.out;
  }
  if (width != block.in.layer.out)
    loader.complain(fmt::format("'{}rebnconv1d' has {} channels and 'rebnconvin' {}", loader.path(), width,
                                block.in.layer.out));
  return block;
}

}  // namespace

struct U2Net::Layers {
  Kind kind = Kind::u2net;
  ConvolutionLayer first;             // IS-Net: halves the picture
  std::vector<Block> encode, decode;  // decode[i] mirrors encode[i]
  std::vector<ConvolutionLayer> sides;
  ConvolutionLayer last;  // U²-Net: of all sides together
};

U2Net::Layers U2Net::build(Loader& loader) {
  Layers layers;
  layers.kind = loader.has("conv_in.weight") ? Kind::isnet : Kind::u2net;
  const bool isnet = layers.kind == Kind::isnet;
  int64_t width = 3;
  if (isnet) {
    const int64_t out = loader.extent({{"conv_in.weight", 0}, {"conv_in.bias", 0}});
    layers.first = loader.convolution("conv_in", width, out, 3);
    width = out;
  }
  const size_t count = kU2NetStages.size();
  for (size_t i = 0; i < count; ++i) {
    layers.encode.push_back(build_block(loader.at(fmt::format("stage{}", i + 1)), kU2NetStages[i], width));
    width = layers.encode.back().in.layer.out;
  }
  layers.decode.resize(count - 1);
  for (size_t i = count - 1; i-- > 0;) {
    layers.decode[i] = build_block(loader.at(fmt::format("stage{}d", i + 1)), kU2NetStages[i],
                                   width + layers.encode[i].in.layer.out);
    width = layers.decode[i].in.layer.out;
  }
  for (size_t i = 0; i < count; ++i) {
    const std::string name = fmt::format("side{}", i + 1);
    const int64_t in = (i + 1 < count ? layers.decode[i] : layers.encode[i]).in.layer.out;
    if (!isnet || i == 0) {
      layers.sides.push_back(loader.convolution(name, in, 1, 3));
    } else if (loader.has(name + ".weight")) {
      loader.unused(name + ".weight", {1, in, 3, 3});
      loader.unused(name + ".bias", {1});
    }
  }
  if (!isnet) layers.last = loader.convolution("outconv", static_cast<int64_t>(count), 1, 1);
  return layers;
}

struct U2Net::State {
  State(Backend& b, Layers l) : backend(b), arena(b), layers(std::move(l)) {}
  Tensor apply(Session& session, const Block& block, const Tensor& x) const;
  Tensor logits(Session& session, const Tensor& pictures) const;

  Backend& backend;
  Arena arena;
  Layers layers;
};

U2Net::U2Net(Backend& backend, const WeightMap& weights, const NetworkType& type)
    : state_(std::make_unique<State>(backend, Loader::load(backend, weights, "", type, U2Net::build))) {}

U2Net::~U2Net() = default;

void U2Net::check(const WeightMap& weights) {
  Loader::check(weights, "", U2Net::build);
}

U2Net::Kind U2Net::kind() const {
  return state_->layers.kind;
}

// ---------------------------------------------------------------- forward

namespace {

Tensor apply(Session& session, const Unit& unit, const Tensor& x, const Tensor& residual = {}) {
  Tensor y = session.empty({x.dim(0), x.dim(1), x.dim(2), unit.layer.out});
  Convolution a;
  a.batch = x.dim(0);
  a.height = x.dim(1);
  a.width = x.dim(2);
  a.dilation = a.pad_top = a.pad_bottom = a.pad_left = a.pad_right = unit.dilation;
  a.x = x.array();
  a.weight = unit.layer.weight.get();
  a.activation = Activation::relu;
  if (residual.defined()) a.residual = residual.array();
  a.y = y.array();
  session.run(a);
  return y;
}

// x in the size of `skip`, then both side by side.
Tensor join(Session& session, const Tensor& x, const Tensor& skip) {
  return concatenate_channels(session, resize_features(session, x, skip.dim(1), skip.dim(2)), skip);
}

}  // namespace

Tensor U2Net::State::apply(Session& session, const Block& block, const Tensor& x) const {
  const Tensor in = eg4d::apply(session, block.in, x);
  std::vector<Tensor> down;
  for (size_t i = 0; i < block.down.size(); ++i) {
    Tensor seen = i == 0 ? in : down.back();
    if (block.pooled && i > 0 && i + 1 < block.down.size()) seen = max_pool(session, seen, 2);
    down.push_back(eg4d::apply(session, block.down[i], seen));
  }
  Tensor up = down.back();
  for (size_t i = block.up.size(); i-- > 0;) {
    down.pop_back();
    up = eg4d::apply(session, block.up[i], join(session, up, down.back()), i == 0 ? in : Tensor{});
  }
  return up;
}

Tensor U2Net::State::logits(Session& session, const Tensor& pictures) const {
  Tensor x = pictures;
  if (layers.kind == Kind::isnet) x = layers.first.halve(session, x, ConvolutionLayer::Padding::all_sides);
  std::vector<Tensor> encoded;
  for (const Block& block : layers.encode) {
    if (!encoded.empty()) x = max_pool(session, x, 2);
    encoded.push_back(x = apply(session, block, x));
  }
  std::vector<Tensor> compared(encoded.size());
  compared.back() = x;
  for (size_t i = layers.decode.size(); i-- > 0;)
    compared[i] = x = apply(session, layers.decode[i], join(session, x, encoded[i]));
  const int64_t height = pictures.dim(1), width = pictures.dim(2);
  if (layers.kind == Kind::isnet)
    return resize_features(session, layers.sides[0](session, compared[0]), height, width);
  Tensor sides;
  for (size_t i = 0; i < layers.sides.size(); ++i) {
    const Tensor side = resize_features(session, layers.sides[i](session, compared[i]), height, width);
    sides = sides.defined() ? concatenate_channels(session, sides, side) : side;
  }
  return layers.last(session, sides);
}

namespace {

void check_pictures(const Shape& shape) {
  if (shape.size() != 4 || shape[3] != 3 || shape[1] < 1 || shape[2] < 1)
    throw Error(fmt::format("U²-Net takes pictures [N,H,W,3], not {}", to_string(shape)));
}

}  // namespace

Tensor U2Net::forward(const Tensor& pictures) {
  const Shape& shape = pictures.shape();
  check_pictures(shape);
  Tensor result = Tensor::empty(state_->backend, {shape[0], shape[1], shape[2], 1});
  Session::run(state_->arena, {},
               [&](Session& session) { copy(session, state_->logits(session, pictures), result); });
  return result;
}

std::unique_ptr<PreparedFunction> U2Net::prepare(const Shape& pictures) {
  check_pictures(pictures);
  return std::make_unique<PreparedFunction>(
      state_->arena, DType::f32, pictures,
      [state = state_.get()](Session& session, const Tensor& x) { return state->logits(session, x); });
}

}  // namespace eg4d
