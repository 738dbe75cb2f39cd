#include "vision/lpips.h"

#include <fmt/format.h>

#include <array>

#include "core/error.h"
#include "nn/loader.h"

namespace eg4d {
namespace {

// A convolution with ReLU as torchvision numbers them; `pool`: a max-pooling of stride 2 lies before it;
// `tap`: its result is compared.
struct Step {
  const char* name;
  int64_t kernel, stride, pad;
  bool pool, tap;
};
constexpr Step kAlex[] = {{"0", 11, 4, 2, false, true},
                          {"3", 5, 1, 2, true, true},
                          {"6", 3, 1, 1, true, true},
                          {"8", 3, 1, 1, false, true},
                          {"10", 3, 1, 1, false, true}};
constexpr Step kVgg[] = {
    {"0", 3, 1, 1, false, false}, {"2", 3, 1, 1, false, true},  {"5", 3, 1, 1, true, false},
    {"7", 3, 1, 1, false, true},  {"10", 3, 1, 1, true, false}, {"12", 3, 1, 1, false, false},
    {"14", 3, 1, 1, false, true}, {"17", 3, 1, 1, true, false}, {"19", 3, 1, 1, false, false},
    {"21", 3, 1, 1, false, true}, {"24", 3, 1, 1, true, false}, {"26", 3, 1, 1, false, false},
    {"28", 3, 1, 1, false, true}};

std::span<const Step> steps_of(Lpips::Network network) {
  if (network == Lpips::Network::alex) return kAlex;
  return kVgg;
}
int64_t pool_kernel(Lpips::Network network) {
  return network == Lpips::Network::alex ? 3 : 2;
}
constexpr int64_t kPoolStride = 2;
constexpr int kTaps = 5;
constexpr const char *kBackbone = "features.", *kHeads = "lin";  // what the tensors' names begin with

// The pictures are brought to about the mean and deviation that the backbones were trained with.
constexpr std::array<float, 3> kShift = {-0.030f, -0.088f, -0.188f}, kScale = {0.458f, 0.448f, 0.450f};

Lpips::Network network_of(const WeightMap& backbone) {
  const auto first = backbone.items().find("features.0.weight");
  if (first != backbone.items().end() && first->second.shape.size() == 4) {
    if (first->second.shape[2] == 11) return Lpips::Network::alex;
    if (first->second.shape[2] == 3) return Lpips::Network::vgg;
  }
  throw Error(
      fmt::format("'{}' holds neither AlexNet nor VGG16 as torchvision publishes them (features.0.weight)",
                  backbone.path().string()));
}

}  // namespace

struct Lpips::Layers {
  std::vector<ConvolutionLayer> convolutions;
};

Lpips::Layers Lpips::build(Loader& loader, Network network) {
  Layers layers;
  int64_t in = 3;
  for (const Step& step : steps_of(network)) {
    const std::string weight = fmt::format("{}.weight", step.name), bias = fmt::format("{}.bias", step.name);
    const int64_t out = loader.extent({{weight.c_str(), 0}, {bias.c_str(), 0}});
    layers.convolutions.push_back(loader.convolution(step.name, in, out, step.kernel));
    in = out;
  }
  return layers;
}

std::vector<Tensor> Lpips::build_heads(Loader& loader) {
  std::vector<Tensor> heads;
  for (int i = 0; i < kTaps; ++i) {
    const std::string name = fmt::format("{}.model.1.weight", i);
    const int64_t channels = loader.extent({{name.c_str(), 1}});
    const auto values = loader.values(name, {1, channels, 1, 1});
    if (!loader.checking()) heads.push_back(Tensor::from_host<float>(loader.backend(), {channels}, values));
  }
  return heads;
}

void Lpips::check_backbone(const WeightMap& backbone) {
  const Network network = network_of(backbone);
  Loader::check(backbone, kBackbone, [&](Loader& loader) { return build(loader, network); });
}

void Lpips::check_heads(const WeightMap& heads) {
  Loader::check(heads, kHeads, build_heads);
}

struct Lpips::State {
  State(Backend& b, Network n, Layers l) : arena(b), network(n), layers(std::move(l)) {}

  // What the backward pass needs of a step.
  struct Passed {
    Tensor pooled;  // what the convolution saw, when there was a pooling
    Tensor result;
  };
  Convolution describe(size_t step, const Tensor& x, const Tensor& y) const;
  MaxPool describe_pool(const Tensor& x) const;
  void normalize(Session& session, const Tensor& pictures, const Tensor& x) const;
  std::vector<Passed> forward(Session& session, Tensor x, bool keep) const;
  FeatureDistance distance(size_t tap, const Tensor& a, const Tensor& b, const Tensor& values) const;
  void backward(Session& session, const Tensor& pictures, const std::vector<Passed>& passed,
                const std::vector<Passed>& wanted, float weight, const Tensor& d_pictures) const;
  void compare(Session& session, const Tensor& pictures, const Tensor& targets, const Tensor& values,
               float weight, bool with_gradient, const Tensor& d_pictures) const;

  Arena arena;
  Network network;
  Layers layers;
  std::vector<Tensor> heads;  // [channels] each
  Tensor scale, shift;        // [3]
};

Lpips::Lpips(Backend& backend, const WeightMap& backbone, const WeightMap& heads, const NetworkType& type) {
  const Network network = network_of(backbone);
  state_ = std::make_unique<State>(backend, network,
                                   Loader::load(backend, backbone, kBackbone, type,
                                                [&](Loader& loader) { return build(loader, network); }));
  state_->heads = Loader::load(backend, heads, kHeads, NetworkType{}, Lpips::build_heads);
  for (size_t i = 0, tap = 0; const Step& step : steps_of(network)) {
    const int64_t channels = state_->layers.convolutions[i++].out;
    if (step.tap && state_->heads[tap++].dim(0) != channels)
      throw Error(fmt::format("'{}' does not belong to '{}': lin{} weighs {} channels of {}",
                              heads.path().string(), backbone.path().string(), tap - 1,
                              state_->heads[tap - 1].dim(0), channels));
  }
  std::vector<float> scale, shift;
  for (size_t c = 0; c < kScale.size(); ++c) {
    scale.push_back(1 / kScale[c]);
    shift.push_back(-kShift[c] / kScale[c]);
  }
  state_->scale = Tensor::from_host<float>(backend, {3}, scale);
  state_->shift = Tensor::from_host<float>(backend, {3}, shift);
}

Lpips::~Lpips() = default;

Lpips::Network Lpips::network() const {
  return state_->network;
}

int64_t Lpips::smallest_side() const {
  return state_->network == Network::alex ? 31 : 16;
}

const char* name_of(Lpips::Network network) {
  return network == Lpips::Network::alex ? "alex" : "vgg";
}

// ---------------------------------------------------------------- forward

Convolution Lpips::State::describe(size_t step, const Tensor& x, const Tensor& y) const {
  const Step& how = steps_of(network)[step];
  Convolution a;
  a.batch = x.dim(0);
  a.height = x.dim(1);
  a.width = x.dim(2);
  a.stride = how.stride;
  a.pad_top = a.pad_bottom = a.pad_left = a.pad_right = how.pad;
  a.x = x.data();
  a.weight = layers.convolutions[step].weight.get();
  a.activation = Activation::relu;
  if (y.defined()) a.y = y.data();
  return a;
}

MaxPool Lpips::State::describe_pool(const Tensor& x) const {
  MaxPool a;
  a.batch = x.dim(0);
  a.height = x.dim(1);
  a.width = x.dim(2);
  a.channels = x.dim(3);
  a.kernel = pool_kernel(network);
  a.stride = kPoolStride;
  a.out_height = pool_extent(a.height, a.kernel, a.stride, true);
  a.out_width = pool_extent(a.width, a.kernel, a.stride, true);
  a.x = x.data();
  return a;
}

void Lpips::State::normalize(Session& session, const Tensor& pictures, const Tensor& x) const {
  session.run(ScaleChannels{.rows = pictures.count() / 3,
                            .channels = 3,
                            .x = pictures.data(),
                            .scale = scale.data(),
                            .shift = shift.data(),
                            .y = x.data()});
}

// Of normalized pictures. Keeps what is compared, and with `keep` everything.
std::vector<Lpips::State::Passed> Lpips::State::forward(Session& session, Tensor x, bool keep) const {
  std::vector<Passed> passed;
  for (size_t i = 0; const Step& step : steps_of(network)) {
    Passed now;
    if (step.pool) {
      MaxPool pool = describe_pool(x);
      now.pooled = session.empty({pool.batch, pool.out_height, pool.out_width, pool.channels});
      pool.y = now.pooled.data();
      session.run(pool);
      x = now.pooled;
      if (!keep) now.pooled = {};
    }
    Convolution convolution = describe(i, x, {});
    const auto extent = [&](int64_t in) {
      return convolution_extent(in, step.kernel, step.pad, step.pad, step.stride);
    };
    now.result = session.empty({x.dim(0), extent(x.dim(1)), extent(x.dim(2)), layers.convolutions[i].out});
    convolution.y = now.result.data();
    session.run(convolution);
    x = now.result;
    if (!keep && !step.tap) now.result = {};
    passed.push_back(std::move(now));
    ++i;
  }
  return passed;
}

FeatureDistance Lpips::State::distance(size_t tap, const Tensor& a, const Tensor& b,
                                       const Tensor& values) const {
  FeatureDistance distance;
  distance.batch = a.dim(0);
  distance.positions = a.dim(1) * a.dim(2);
  distance.channels = a.dim(3);
  distance.a = a.data();
  distance.b = b.data();
  distance.weight = heads[tap].data();
  if (values.defined()) distance.values = values.data<double>();
  return distance;
}

// ---------------------------------------------------------------- backward

void Lpips::State::backward(Session& session, const Tensor& pictures, const std::vector<Passed>& passed,
                            const std::vector<Passed>& wanted, float weight, const Tensor& d_pictures) const {
  const std::span<const Step> steps = steps_of(network);
  size_t tap = heads.size();
  Tensor d_result;  // of the step that is dealt with
  for (size_t i = steps.size(); i-- > 0;) {
    const Tensor& result = passed[i].result;
    if (!d_result.defined()) d_result = session.zeros(result.shape());
    if (steps[i].tap)
      session.run(
          FeatureDistanceBackward{distance(--tap, result, wanted[i].result, {}), weight, d_result.data()});
    const Tensor& below = i == 0 ? pictures : passed[i - 1].result;
    const Tensor& seen = steps[i].pool ? passed[i].pooled : below;
    Tensor d_seen = session.zeros(seen.shape());
    session.run(ConvolutionBackward{describe(i, seen, result), d_result.data(), d_seen.data()});
    if (steps[i].pool) {
      const Tensor d_below = session.zeros(below.shape());
      session.run(MaxPoolBackward{describe_pool(below), d_seen.data(), d_below.data()});
      d_seen = d_below;
    }
    d_result = d_seen;
  }
  session.run(ScaleChannelsBackward{{.rows = pictures.count() / 3, .channels = 3, .scale = scale.data()},
                                    d_result.data(),
                                    d_pictures.data()});
}

// ---------------------------------------------------------------- both

void Lpips::State::compare(Session& session, const Tensor& pictures, const Tensor& targets,
                           const Tensor& values, float weight, bool with_gradient,
                           const Tensor& d_pictures) const {
  // Both in one batch: a picture alone leaves a large device partly idle.
  const int64_t count = pictures.dim(0);
  std::vector<Passed> wanted, passed;
  {
    Shape shape = pictures.shape();
    shape.front() *= 2;
    Tensor all = session.empty(shape);
    normalize(session, targets, all.rows(0, count));
    normalize(session, pictures, all.rows(count, count));
    const auto half = [&](const Tensor& both, int64_t from) {
      return both.defined() ? both.rows(from, count) : Tensor();
    };
    for (const Passed& both : forward(session, std::move(all), with_gradient)) {
      wanted.push_back({half(both.pooled, 0), half(both.result, 0)});
      passed.push_back({half(both.pooled, count), half(both.result, count)});
    }
  }
  for (size_t i = 0, tap = 0; const Step& step : steps_of(network)) {
    if (step.tap) session.run(distance(tap++, passed[i].result, wanted[i].result, values));
    ++i;
  }
  if (with_gradient) backward(session, pictures, passed, wanted, weight, d_pictures);
}

void Lpips::plan(Arena& arena, const Shape& pictures, bool with_gradient) const {
  const Tensor none = Tensor::from_memory(arena.backend(), nullptr, pictures);
  Session::plan(arena,
                [&](Session& session) { state_->compare(session, none, none, {}, 0, with_gradient, none); });
}

void Lpips::measure(Arena& arena, const Tensor& pictures, const Tensor& targets, const Tensor& values,
                    float weight, const Tensor& d_pictures) const {
  const Shape& shape = pictures.shape();
  if (shape.size() != 4 || shape[3] != 3 || targets.shape() != shape || values.shape() != Shape{shape[0]})
    throw Error(fmt::format("LPIPS compares pictures [N,H,W,3], not {} with {}", to_string(shape),
                            to_string(targets.shape())));
  if (std::min(shape[1], shape[2]) < smallest_side())
    throw Error(fmt::format("LPIPS ({}) needs pictures of at least {} pixels a side, not {}×{}",
                            name_of(network()), smallest_side(), shape[2], shape[1]));
  Session::run(arena, {}, [&](Session& session) {
    state_->compare(session, pictures, targets, values, weight, d_pictures.defined(), d_pictures);
  });
}

void Lpips::measure(const Tensor& pictures, const Tensor& targets, const Tensor& values, float weight,
                    const Tensor& d_pictures) {
  measure(state_->arena, pictures, targets, values, weight, d_pictures);
}

std::vector<double> Lpips::distances(const Tensor& pictures, const Tensor& targets) {
  const Tensor values = Tensor::zeros(pictures.backend(), {pictures.dim(0)}, DType::f64);
  measure(pictures, targets, values);
  return values.to_host<double>();
}

}  // namespace eg4d
