#include "diffusion/dpt.h"

#include <fmt/format.h>

#include <cmath>

#include "core/error.h"
#include "diffusion/bit_backbone.h"
#include "diffusion/clip_blocks.h"
#include "nn/packed_convolution.h"

namespace eg4d {
namespace {

constexpr size_t kLevels = 4;      // feature maps that come together
constexpr size_t kFromStages = 2;  // the finest are the backbone's first
constexpr int64_t kPatch = 16, kSizeMultiple = 32, kHeadChannels = 64;

// ReLU and convolution twice; the input is added at the end.
struct ResidualUnit {
  ConvolutionLayer first, second;
};

struct Fusion {
  ResidualUnit skip, body;  // the coarsest level has no skip
  LinearLayer projection;
};

// Of a level that comes from the transformer.
struct Reassemble {
  LinearLayer readout;  // of a patch's token and the class token
  LinearLayer projection;
};

struct Layers {
  std::unique_ptr<BitBackbone> backbone;
  int64_t width = 0, grid = 0;
  LinearLayer projection;
  Tensor class_token, positions;  // [1,width], [grid²,width]; the class token has its position added
  std::vector<ClipBlock> blocks;
  std::array<Reassemble, 2> reassemble;
  ConvolutionLayer halve;                      // of the coarsest level
  std::array<ConvolutionLayer, kLevels> neck;  // from fine to coarse
  std::array<Fusion, kLevels> fusion;          // from coarse to fine
  ConvolutionLayer head_first, head_second;
  LinearLayer head_last;
};

ConvolutionLayer without_bias(const Loader& loader, const std::string& name, int64_t in, int64_t out) {
  constexpr int64_t kernel = 3;
  return packed_convolution(loader, {in, out, kernel, kernel, nullptr},
                            loader.values(name + ".weight", {out, in, kernel, kernel}));
}

void build_embeddings(const Loader& loader, Layers& layers) {
  layers.backbone = std::make_unique<BitBackbone>(loader.at("backbone.bit"));
  if (layers.backbone->stages() <= kFromStages)
    throw Error(
        fmt::format("the network's backbone has {} stages, DPT-Hybrid's has 3", layers.backbone->stages()));
  layers.width = loader.extent(
      {{"projection.weight", 0}, {"projection.bias", 0}, {"cls_token", 2}, {"position_embeddings", 2}});
  const int64_t width = layers.width;
  layers.projection =
      loader.linear("projection", layers.backbone->channels(layers.backbone->stages() - 1), width);
  const int64_t tokens = loader.extent({{"position_embeddings", 1}});
  layers.grid = std::lround(std::sqrt(static_cast<double>(tokens - 1)));
  if (layers.grid < 1 || layers.grid * layers.grid + 1 != tokens)
    loader.complain(
        fmt::format("'{}position_embeddings' has {} rows, expected a square and one", loader.path(), tokens));
  std::vector<float> class_token = loader.values("cls_token", {1, 1, width});
  std::vector<float> positions = loader.values("position_embeddings", {1, tokens, width});
  if (loader.checking()) return;
  for (size_t i = 0; i < class_token.size(); ++i) class_token[i] += positions[i];
  positions.erase(positions.begin(), positions.begin() + width);
  layers.class_token = loader.constants({1, width}, class_token);
  layers.positions = loader.constants({1, layers.grid, layers.grid, width}, positions);
}

// The results of the transformer get `out` channels.
int64_t build_reassemble(const Loader& loader, size_t level, int64_t width, Reassemble& reassemble) {
  reassemble.readout = loader.linear(fmt::format("readout_projects.{}.0", level), 2 * width, width);
  const std::string name = fmt::format("layers.{}.projection", level);
  const int64_t out = loader.extent({{(name + ".weight").c_str(), 0}, {(name + ".bias").c_str(), 0}});
  reassemble.projection = loader.linear(name, width, out);
  return out;
}

ResidualUnit build_unit(const Loader& loader, int64_t width) {
  return {loader.convolution("convolution1", width, width, 3),
          loader.convolution("convolution2", width, width, 3)};
}

void build_neck(const Loader& loader, Layers& layers) {
  std::array<int64_t, kLevels> channels{};
  for (size_t level = 0; level < kFromStages; ++level) channels[level] = layers.backbone->channels(level);
  const Loader reassemble = loader.at("reassemble_stage");
  for (size_t i = 0; i < layers.reassemble.size(); ++i)
    channels[kFromStages + i] =
        build_reassemble(reassemble, kFromStages + i, layers.width, layers.reassemble[i]);
  layers.halve = reassemble.convolution("layers.3.resize", channels.back(), channels.back(), 3);
  const int64_t width = loader.extent({{"convs.0.weight", 0},
                                       {"convs.1.weight", 0},
                                       {"convs.2.weight", 0},
                                       {"convs.3.weight", 0},
                                       {"fusion_stage.layers.0.projection.bias", 0}});
  for (size_t level = 0; level < kLevels; ++level)
    layers.neck[level] = without_bias(loader, fmt::format("convs.{}", level), channels[level], width);
  for (size_t i = 0; i < kLevels; ++i) {
    const Loader part = loader.at(fmt::format("fusion_stage.layers.{}", i));
    Fusion& fusion = layers.fusion[i];
    fusion.projection = part.linear("projection", width, width);
    fusion.body = build_unit(part.at("residual_layer2"), width);
    // The coarsest level's is in the file, but nothing runs it.
    for (const std::string name : {"residual_layer1.convolution1", "residual_layer1.convolution2"}) {
      if (i > 0) continue;
      part.unused(name + ".weight", {width, width, 3, 3});
      part.unused(name + ".bias", {width});
    }
    if (i > 0) fusion.skip = build_unit(part.at("residual_layer1"), width);
  }
}

void build_head(const Loader& loader, Layers& layers) {
  const int64_t width = layers.neck[0].out;
  const int64_t first = loader.extent({{"0.weight", 0}, {"0.bias", 0}, {"2.weight", 1}}),
                second = loader.extent({{"2.weight", 0}, {"2.bias", 0}, {"4.weight", 1}});
  layers.head_first = loader.convolution("0", width, first, 3);
  layers.head_second = loader.convolution("2", first, second, 3);
  layers.head_last = loader.linear("4", second, 1);
}

Layers build(Loader& loader) {
  Layers layers;
  build_embeddings(loader.at("dpt.embeddings"), layers);
  layers.blocks = clip_blocks(loader.at("dpt"), layers.width, ClipNames::vision_transformer);
  loader.unused("dpt.layernorm.weight", {layers.width});
  loader.unused("dpt.layernorm.bias", {layers.width});
  build_neck(loader.at("neck"), layers);
  build_head(loader.at("head.head"), layers);
  return layers;
}

}  // namespace

struct DptHybrid::Network {
  Network(Backend& b, Layers l, const Options& o) : backend(b), arena(b), layers(std::move(l)), options(o) {}
  Tensor tokens(Session& session, const Tensor& features) const;
  std::array<Tensor, 2> transform(Session& session, const Tensor& tokens, int64_t pictures) const;
  Tensor reassemble(Session& session, const Reassemble& how, const Tensor& tokens,
                    const Shape& features) const;
  Tensor fuse(Session& session, const Fusion& fusion, const Tensor& coarser, const Tensor& level) const;
  Tensor depth(Session& session, const Tensor& pictures) const;

  Backend& backend;
  Arena arena;
  Layers layers;
  Options options;
};

DptHybrid::DptHybrid(Backend& backend, const WeightMap& weights, const Options& options) {
  Layers layers = Loader::load(backend, weights, "", options.type, build);
  Options own = options;
  if (own.heads == 0) own.heads = std::max<int64_t>(layers.width / kHeadChannels, 1);
  if (layers.width % own.heads != 0)
    throw Error(fmt::format("'{}': {} channels cannot be divided into {} attention heads",
                            weights.path().string(), layers.width, own.heads));
  const auto blocks = static_cast<int64_t>(layers.blocks.size());
  if (own.taps[0] < 0 || own.taps[0] >= own.taps[1] || own.taps[1] >= blocks)
    throw Error(fmt::format("'{}' has {} blocks, of which numbers {} and {} are to be used",
                            weights.path().string(), blocks, own.taps[0], own.taps[1]));
  network_ = std::make_unique<Network>(backend, std::move(layers), own);
}

DptHybrid::~DptHybrid() = default;

void DptHybrid::check(const WeightMap& weights) {
  Loader::check(weights, "", build);
}

int64_t DptHybrid::picture_size() const {
  return network_->layers.grid * kPatch;
}

// ---------------------------------------------------------------- forward

namespace {

Tensor doubled(Session& session, const Tensor& x) {
  return resize_features(session, x, 2 * x.dim(1), 2 * x.dim(2), true);
}

void relu(Session& session, const Tensor& x, const Tensor& y) {
  session.run(Activate{.count = x.count(), .activation = Activation::relu, .x = x.array(), .y = y.array()});
}

Tensor apply(Session& session, const ResidualUnit& unit, const Tensor& x) {
  const Tensor active = session.empty(x.shape());
  relu(session, x, active);
  const Tensor hidden = unit.first(session, active);
  relu(session, hidden, hidden);
  Tensor y = session.empty(x.shape());
  unit.second.add(session, hidden, x, y);
  return y;
}

}  // namespace

// [N·(1+H·W),width]: the class token, then the features' pixels, with their positions. features: [N,H,W,C]
Tensor DptHybrid::Network::tokens(Session& session, const Tensor& features) const {
  const int64_t count = features.dim(0), height = features.dim(1), columns = features.dim(2),
                pixels = height * columns, width = layers.width, pitch = (1 + pixels) * width;
  const Tensor projected = layers.projection(session, features);
  const Tensor positions = resize_features(session, layers.positions, height, columns);
  Tensor all = session.empty({count * (1 + pixels), width});
  session.run(CopyRows{.rows = count,
                       .width = width,
                       .from = layers.class_token.array(),
                       .from_pitch = 0,
                       .to = all.array(),
                       .to_pitch = pitch});
  for (int64_t i = 0; i < count; ++i)
    session.run(ScaledSum{.count = pixels * width,
                          .a = projected.array().at(i * pixels * width),
                          .b = positions.array(),
                          .a_scale = 1,
                          .b_scale = 1,
                          .y = all.array().at(i * pitch + width)});
  return all;
}

// What the tapped blocks put out.
std::array<Tensor, 2> DptHybrid::Network::transform(Session& session, const Tensor& tokens,
                                                    int64_t pictures) const {
  std::array<Tensor, 2> tapped;
  for (size_t i = 0; i < layers.blocks.size(); ++i) {
    layers.blocks[i].apply(session, tokens,
                           {.sequences = pictures, .head_channels = layers.width / options.heads});
    for (size_t tap = 0; tap < tapped.size(); ++tap)
      if (options.taps[tap] == static_cast<int64_t>(i)) {
        tapped[tap] = session.empty(tokens.shape());
        copy(session, tokens, tapped[tap]);
      }
  }
  return tapped;
}

// Tokens as a feature map again, each with the class token beside it; `shape` is [N,H,W,…].
Tensor DptHybrid::Network::reassemble(Session& session, const Reassemble& how, const Tensor& tokens,
                                      const Shape& shape) const {
  const int64_t pixels = shape[1] * shape[2], width = layers.width;
  const Tensor both = session.empty({shape[0], shape[1], shape[2], 2 * width});
  for (int64_t i = 0; i < shape[0]; ++i) {
    const ConstArray from = tokens.array().at(i * (1 + pixels) * width);
    const Array to = both.array().at(i * pixels * 2 * width);
    session.run(CopyRows{.rows = pixels,
                         .width = width,
                         .from = from.at(width),
                         .from_pitch = width,
                         .to = to,
                         .to_pitch = 2 * width});
    session.run(CopyRows{.rows = pixels,
                         .width = width,
                         .from = from,
                         .from_pitch = 0,
                         .to = to.at(width),
                         .to_pitch = 2 * width});
  }
  return how.projection(session, how.readout(session, both, Activation::gelu));
}

// `coarser` is undefined for the coarsest level; twice the level's size comes out.
Tensor DptHybrid::Network::fuse(Session& session, const Fusion& fusion, const Tensor& coarser,
                                const Tensor& level) const {
  Tensor x = level;
  if (coarser.defined()) {
    x = apply(session, fusion.skip, level);
    session.run(ScaledSum{.count = x.count(),
                          .a = x.array(),
                          .b = coarser.array(),
                          .a_scale = 1,
                          .b_scale = 1,
                          .y = x.array()});
  }
  x = apply(session, fusion.body, x);
  // Projection and enlargement may change places: the weights of a bilinear sample add up to 1.
  return doubled(session, fusion.projection(session, x));
}

Tensor DptHybrid::Network::depth(Session& session, const Tensor& pictures) const {
  std::array<Tensor, kLevels> levels;
  Shape grid;
  std::array<Tensor, 2> tapped;
  {
    const std::vector<Tensor> features = (*layers.backbone)(session, pictures);
    for (size_t level = 0; level < kFromStages; ++level)
      levels[level] = layers.neck[level](session, features[level]);
    grid = features.back().shape();
    const Tensor tokens = this->tokens(session, features.back());
    session.observe("embeddings", tokens);
    tapped = transform(session, tokens, grid[0]);
    session.observe("encoder", tokens);
  }
  for (size_t i = 0; i < tapped.size(); ++i) {
    const size_t level = kFromStages + i;
    Tensor x = reassemble(session, layers.reassemble[i], tapped[i], grid);
    if (level + 1 == kLevels) x = layers.halve.halve(session, x, ConvolutionLayer::Padding::all_sides);
    levels[level] = layers.neck[level](session, x);
  }
  Tensor x;
  for (size_t i = 0; i < kLevels; ++i) x = fuse(session, layers.fusion[i], x, levels[kLevels - 1 - i]);
  session.observe("fused", x);
  x = doubled(session, layers.head_first(session, x));
  x = layers.head_second(session, x);
  relu(session, x, x);
  x = layers.head_last(session, x);
  session.observe("raw", x);
  relu(session, x, x);
  return x;
}

namespace {

void check_pictures(const Shape& shape) {
  if (shape.size() != 4 || shape[3] != 3 || shape[1] % kSizeMultiple != 0 || shape[2] % kSizeMultiple != 0 ||
      element_count(shape) == 0)
    throw Error(fmt::format("DPT-Hybrid takes pictures [N,H,W,3] with H and W multiples of {}, not {}",
                            kSizeMultiple, to_string(shape)));
}

}  // namespace

Tensor DptHybrid::forward(const Tensor& pictures, const Observer& observer) {
  const Shape& shape = pictures.shape();
  check_pictures(shape);
  Tensor result = Tensor::empty(network_->backend, {shape[0], shape[1], shape[2], 1});
  const auto walk = [&](Session& session) {
    copy(session, network_->depth(session, in_session_type(session, pictures)), result);
  };
  Session::run(network_->arena, observer, walk, network_->options.type.activations);
  return result;
}

std::unique_ptr<PreparedFunction> DptHybrid::prepare(const Shape& pictures) {
  check_pictures(pictures);
  return std::make_unique<PreparedFunction>(
      network_->arena, network_->options.type.activations, pictures,
      [network = network_.get()](Session& session, const Tensor& x) { return network->depth(session, x); });
}

}  // namespace eg4d
