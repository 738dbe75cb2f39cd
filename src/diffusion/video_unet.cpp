#include "diffusion/video_unet.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "core/error.h"
#include "diffusion/conditioning.h"
#include "diffusion/unet_skeleton.h"
#include "diffusion/video_blocks.h"
#include "nn/prepared_call.h"

namespace eg4d {
namespace {

constexpr int64_t kDefaultHeadChannels = 64;
using Layers = UNetLayers<VideoResidualBlock, VideoTransformer>;

// The latents and, behind them, as many channels of the condition.
Layers build(Loader& loader, int64_t head_channels) {
  return UNetBuilder<VideoResidualBlock, VideoTransformer>(loader, 2,
                                                           [=](int64_t, size_t) { return head_channels; })
      .build();
}

int64_t head_channels_of(const WeightMap& weights, int64_t wanted) {
  if (wanted > 0) return wanted;
  return weights.metadata_number("num_head_channels", kDefaultHeadChannels);
}

}  // namespace

// All of it lies in one piece of memory, so that one copy brings it into a prepared call.
struct VideoUNet::Conditioning {
  Conditioning(Backend& backend, const Layers& layers, int64_t number_of_rows, int64_t frames_of_a_video,
               DType type);

  int64_t rows, frames;
  Tensor all;    // of the network's type
  Tensor label;  // [rows,embedding]
  std::vector<TransformerConstants> transformers;
};

VideoUNet::Conditioning::Conditioning(Backend& backend, const Layers& layers, int64_t number_of_rows,
                                      int64_t frames_of_a_video, DType type)
    : rows(number_of_rows), frames(frames_of_a_video) {
  constexpr int64_t kAligned = 64;  // elements
  int64_t used = 0;
  // Goes through it twice: to count, then to cut.
  const auto cut = [&](int64_t height, int64_t width) {
    const int64_t count = height * width, begin = used;
    used += (count + kAligned - 1) / kAligned * kAligned;
    return all.defined() ? all.rows(begin, count).reshaped({height, width}) : Tensor();
  };
  const auto lay_out = [&] {
    used = 0;
    label = cut(rows, layers.embedding);
    transformers.clear();
    layers.each_transformer([&](const VideoTransformer& transformer) {
      TransformerConstants& constants = transformers.emplace_back();
      for (size_t depth = 0; depth < transformer.depth(); ++depth) {
        constants.spatial.push_back(cut(rows, transformer.channels()));
        constants.temporal.push_back(cut(rows / frames, transformer.channels()));
      }
      constants.frame_position = cut(frames, transformer.channels());
    });
  };
  lay_out();
  all = Tensor::zeros(backend, {used}, type);
  lay_out();
}

struct VideoUNet::Network {
  Network(Backend& b, Layers l, const Options& options)
      : backend(b),
        arena(options.arena ? options.arena : std::make_shared<Arena>(b)),
        layers(std::move(l)),
        type(options.type) {}

  // The tensors of one call and how attention injection takes part in it.
  struct Operands {
    Tensor input, sinusoids, prediction;
    AttentionInjection* injection = nullptr;
    AttentionInjection::Role role = AttentionInjection::Role::first_video;
    // Deep features: left for other calls, or what an earlier one left.
    std::optional<DeepFeatures> deep = {};
    bool shallow = false;
  };
  Operands operands(const Call::Size& size, DType input_type) const;
  void walk(Session& session, const Operands& operands, const Conditioning& conditioning) const;

  Backend& backend;
  const std::shared_ptr<Arena> arena;
  Layers layers;
  const NetworkType type;
  size_t weight_bytes = 0;
};

VideoUNet::VideoUNet(Backend& backend, const WeightMap& weights, const std::string& prefix,
                     const Options& options) {
  const size_t before = backend.allocated_bytes();
  const int64_t head_channels = head_channels_of(weights, options.head_channels);
  network_ =
      std::make_unique<Network>(backend,
                                Loader::load(backend, weights, prefix, options.type,
                                             [&](Loader& loader) { return build(loader, head_channels); }),
                                options);
  network_->weight_bytes = backend.allocated_bytes() - before;
}

VideoUNet::~VideoUNet() = default;

void VideoUNet::check(const WeightMap& weights, const std::string& prefix) {
  // How the channels are divided into heads leaves no trace in the shapes.
  Loader::check(weights, prefix, [](Loader& loader) { build(loader, 1); });
}

int64_t VideoUNet::in_channels() const {
  return network_->layers.in;
}
int64_t VideoUNet::out_channels() const {
  return network_->layers.out;
}
int64_t VideoUNet::context_width() const {
  return network_->layers.context;
}
int64_t VideoUNet::vector_width() const {
  return network_->layers.vector;
}
int64_t VideoUNet::size_multiple() const {
  return network_->layers.size_multiple();
}
size_t VideoUNet::weight_bytes() const {
  return network_->weight_bytes;
}
size_t VideoUNet::activation_bytes() const {
  return network_->arena->capacity();
}

size_t VideoUNet::injection_layers() const {
  size_t count = 0;
  network_->layers.each_transformer(
      [&](const VideoTransformer& transformer) { count += transformer.depth(); });
  return count;
}

// ---------------------------------------------------------------- conditions

namespace {

Tensor frame_sinusoids(Backend& backend, int64_t frames, int64_t width) {
  std::vector<double> numbers(static_cast<size_t>(frames));
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<double>(i);
  return Tensor::from_host<float>(backend, {frames, width},
                                  sinusoidal_embedding(numbers, static_cast<int>(width)));
}

void copy(Session& session, const TransformerConstants& from, const TransformerConstants& to) {
  for (size_t i = 0; i < from.spatial.size(); ++i) {
    copy(session, from.spatial[i], to.spatial[i]);
    copy(session, from.temporal[i], to.temporal[i]);
  }
  copy(session, from.frame_position, to.frame_position);
}

}  // namespace

std::shared_ptr<const VideoUNet::Conditioning> VideoUNet::condition(const Tensor& context,
                                                                    const Tensor& vector, int64_t frames) {
  const Layers& layers = network_->layers;
  const int64_t rows = vector.dim(0);
  if (context.shape() != Shape{rows, 1, layers.context} || vector.shape() != Shape{rows, layers.vector} ||
      frames < 1 || rows % frames != 0)
    throw Error(fmt::format(
        "the network takes contexts [N,1,{}] and vectors [N,{}], N a multiple of {} frames, not {} "
        "and {}",
        layers.context, layers.vector, frames, to_string(context.shape()), to_string(vector.shape())));
  const DType type = network_->type.activations;
  auto conditioning = std::make_shared<Conditioning>(network_->backend, layers, rows, frames, type);
  std::map<int64_t, Tensor> sinusoids;  // by width
  layers.each_transformer([&](const VideoTransformer& transformer) {
    const int64_t width = transformer.channels();
    if (!sinusoids.count(width)) sinusoids[width] = frame_sinusoids(network_->backend, frames, width);
  });
  const auto walk = [&](Session& session) {
    const Tensor tokens = in_session_type(session, context.reshaped({rows, layers.context}));
    const Tensor first = layers.label_first(session, in_session_type(session, vector), Activation::silu);
    copy(session, layers.label_second(session, first), conditioning->label);
    size_t index = 0;
    layers.each_transformer([&](const VideoTransformer& transformer) {
      const Tensor numbers = in_session_type(session, sinusoids.at(transformer.channels()));
      copy(session, transformer.constants(session, tokens, numbers), conditioning->transformers[index++]);
    });
  };
  Session::run(*network_->arena, {}, walk, type);
  return conditioning;
}

// ---------------------------------------------------------------- one evaluation

// Throws Error where the network cannot take latents of that size.
VideoUNet::Network::Operands VideoUNet::Network::operands(const Call::Size& size, DType input_type) const {
  check_unet_size(layers, size.height, size.width);
  return {.input = Tensor::empty(backend, {size.rows, size.height, size.width, layers.in}, input_type),
          .sinusoids = Tensor::empty(backend, {size.rows, layers.model_channels}),
          .prediction = Tensor::empty(backend, {size.rows, size.height, size.width, layers.out})};
}

namespace {

// Where a transformer stands in the order of execution.
struct Place {
  size_t index = 0, injection_layer = 0;
};
Place place_of(const Layers& layers, const VideoTransformer& transformer) {
  Place place;
  bool found = false;
  layers.each_transformer([&](const VideoTransformer& other) {
    found = found || &other == &transformer;
    if (found) return;
    ++place.index;
    place.injection_layer += other.depth();
  });
  return place;
}

}  // namespace

void VideoUNet::Network::walk(Session& session, const Operands& operands,
                              const Conditioning& conditioning) const {
  const Tensor emb = unet_embedding(session, layers, operands.sinusoids, conditioning.label);
  const int64_t frames = conditioning.frames;
  const auto residual = [&](const VideoResidualBlock& block, const Tensor& h) {
    return block(session, h, emb, frames);
  };
  const auto transform = [&](const VideoTransformer& transformer, const Tensor& h) {
    const Place place = place_of(layers, transformer);
    return transformer(session, h,
                       {.frames = frames,
                        .constants = &conditioning.transformers[place.index],
                        .injection = operands.injection,
                        .role = operands.role,
                        .first_injection_layer = place.injection_layer});
  };
  if (operands.shallow)
    run_shallow_unet(session, layers, operands.input, *operands.deep, residual, transform,
                     operands.prediction);
  else
    run_unet(session, layers, operands.input, nullptr, residual, transform, operands.prediction,
             operands.deep ? &*operands.deep : nullptr);
}

Tensor VideoUNet::forward(const Tensor& x, std::span<const float> timesteps, const Conditioning& conditioning,
                          const Observer& observer) {
  const Layers& layers = network_->layers;
  const int64_t rows = conditioning.rows;
  check_unet_input(layers, x, rows, timesteps);
  const Network::Operands operands{
      .input = x,
      .sinusoids = timestep_sinusoids(network_->backend, timesteps, rows, layers.model_channels),
      .prediction = Tensor::empty(network_->backend, {rows, x.dim(1), x.dim(2), layers.out})};
  Session::run(
      *network_->arena, observer, [&](Session& session) { network_->walk(session, operands, conditioning); },
      network_->type.activations);
  return operands.prediction;
}

// ---------------------------------------------------------------- a prepared call

// A call for every place of a step between two whole ones: the whole one itself, and those that only compute
// the outermost blocks. Those are all alike, except that with injection each has references of its own.
struct VideoUNet::Call::State {
  struct Step {
    std::optional<AttentionInjection> injection;
    std::unique_ptr<PreparedCall> first, later;  // without injection: the first alone
  };

  State(const Network& n, const Size& s, const std::optional<AttentionInjection::Options>& options,
        const StepCache& c)
      : network(n),
        size(s),
        cache(c),
        conditioning(n.backend, n.layers, s.rows, s.frames, n.type.activations),
        operands(n.operands(s, n.type.activations)),
        steps(static_cast<size_t>(options ? c.interval : std::min(c.interval, 2))) {
    for (Step& step : steps) {
      if (options) step.injection.emplace(*options);
      step.first = prepare(step, AttentionInjection::Role::first_video);
      if (options) step.later = prepare(step, AttentionInjection::Role::later_video);
    }
  }
  std::unique_ptr<PreparedCall> prepare(Step& step, AttentionInjection::Role role) {
    Network::Operands own = operands;
    own.injection = step.injection ? &*step.injection : nullptr;
    own.role = role;
    if (cache.interval > 1) own.deep = DeepFeatures{&deep, static_cast<size_t>(cache.depth)};
    own.shallow = &step != &steps.front();
    return std::make_unique<PreparedCall>(
        *network.arena, network.type.activations,
        [this, own](Session& session) { network.walk(session, own, conditioning); });
  }
  Step& at(int step) { return steps[std::min(static_cast<size_t>(step % cache.interval), steps.size() - 1)]; }

  const Network& network;
  const Size size;
  const StepCache cache;
  const Conditioning conditioning;  // the running video's
  Network::Operands operands;
  Tensor deep;                                 // of the video that made the last whole step
  std::pair<const Conditioning*, int> before;  // the last call's video and step
  std::vector<Step> steps;
};

namespace {

void check_call_size(const VideoUNet::Call::Size& size) {
  if (size.frames < 1 || size.rows < 1 || size.rows % size.frames != 0)
    throw Error(fmt::format("a call of the network is for whole videos, not for {} rows of {} frames each",
                            size.rows, size.frames));
}

void check_cache(const StepCache& cache, size_t output_blocks) {
  if (cache.interval < 1 || cache.depth < 1)
    throw Error("a step cache has an interval and a depth of at least 1");
  if (cache.interval > 1 && static_cast<size_t>(cache.depth) >= output_blocks)
    throw Error(
        fmt::format("a step cache that computes {} of the network's {} output blocks in every step saves "
                    "nothing: its depth must be smaller",
                    cache.depth, output_blocks));
}

}  // namespace

VideoUNet::Call::Call(VideoUNet& network, const Size& size,
                      const std::optional<AttentionInjection::Options>& injection, const StepCache& cache) {
  check_call_size(size);
  check_cache(cache, network.network_->layers.output.size());
  state_ = std::make_unique<State>(*network.network_, size, injection, cache);
}

VideoUNet::Call::~Call() = default;

const Tensor& VideoUNet::Call::input() const {
  return state_->operands.input;
}
const Tensor& VideoUNet::Call::sinusoids() const {
  return state_->operands.sinusoids;
}
const Tensor& VideoUNet::Call::prediction() const {
  return state_->operands.prediction;
}
const VideoUNet::Call::Size& VideoUNet::Call::size() const {
  return state_->size;
}
const AttentionInjection* VideoUNet::Call::injection() const {
  const std::optional<AttentionInjection>& injection = state_->steps.front().injection;
  return injection ? &*injection : nullptr;
}
const StepCache& VideoUNet::Call::cache() const {
  return state_->cache;
}

void VideoUNet::Call::set_timestep(float timestep) {
  write_sinusoids(state_->operands.sinusoids, {&timestep, 1});
}

void VideoUNet::Call::run(const Conditioning& conditioning, int step, bool first_video) {
  const Conditioning& own = state_->conditioning;
  if (conditioning.rows != own.rows || conditioning.frames != own.frames)
    throw Error(fmt::format("a call for {} rows of {} frames each was given the conditions of {} of {}",
                            own.rows, own.frames, conditioning.rows, conditioning.frames));
  if (!state_->cache.is_whole(step) && state_->before != std::pair(&conditioning, step - 1))
    throw Error(fmt::format("step cache: step {} of a video comes before its step {}", step, step - 1));
  State::Step& prepared = state_->at(step);
  if (prepared.injection) prepared.injection->begin(step, first_video);
  own.all.backend().run(CopyBytes{own.all.raw(), conditioning.all.raw(), own.all.bytes()});
  (prepared.injection && !first_video ? prepared.later : prepared.first)->run();
  state_->before = {&conditioning, step};
}

}  // namespace eg4d
