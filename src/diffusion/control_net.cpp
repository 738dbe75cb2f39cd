#include "diffusion/control_net.h"

#include "diffusion/image_unet_frame.h"
#include "nn/prepared_call.h"

namespace eg4d {
namespace {

constexpr int64_t kColors = 3;

// Convolutions with SiLU between them that bring a hint to the size of the latents.
struct HintLayers {
  ConvolutionLayer in, out;
  std::vector<ConvolutionLayer> blocks;  // every second one halves
  int64_t multiple() const { return int64_t{1} << (blocks.size() / 2); }
};

struct Layers : ImageUNetBuilder::Encoder {
  HintLayers hint;
  std::vector<LinearLayer> skip_outputs;
  LinearLayer middle_output;
};

HintLayers build_hint(const Loader& loader, int64_t out) {
  HintLayers layers;
  std::vector<std::string> names = {"conv_in"};
  for (int64_t i = 0, count = loader.children("blocks", 1); i < count; ++i)
    names.push_back(fmt::format("blocks.{}", i));
  names.push_back("conv_out");
  int64_t width = kColors;
  for (size_t i = 0; i + 1 < names.size(); ++i) {
    const std::string weight = names[i] + ".weight", bias = names[i] + ".bias",
                      next = names[i + 1] + ".weight";
    const int64_t wide = loader.extent({{bias.c_str(), 0}, {weight.c_str(), 0}, {next.c_str(), 1}});
    ConvolutionLayer layer = loader.convolution(names[i], width, wide, 3);
    if (i == 0) {
      layers.in = std::move(layer);
    } else {
      layers.blocks.push_back(std::move(layer));
    }
    width = wide;
  }
  layers.out = loader.convolution("conv_out", width, out, 3);
  return layers;
}

Layers build(Loader& loader, const ImageUNetBuilder::HeadChannels& head_channels) {
  Layers layers{ImageUNetBuilder(loader, 1, head_channels).build_encoder(), {}, {}, {}};
  layers.hint = build_hint(loader.at("controlnet_cond_embedding"), layers.model_channels);
  for (size_t i = 0; i < layers.skips.size(); ++i)
    layers.skip_outputs.push_back(
        loader.linear(fmt::format("controlnet_down_blocks.{}", i), layers.skips[i], layers.skips[i]));
  const int64_t middle = layers.middle_first->out();
  layers.middle_output = loader.linear("controlnet_mid_block", middle, middle);
  return layers;
}

Tensor with_silu(Session& session, Tensor x) {
  session.run(Activate{.count = x.count(), .activation = Activation::silu, .x = x.array(), .y = x.array()});
  return x;
}

Tensor embed(Session& session, const HintLayers& layers, const Tensor& hint) {
  Tensor h = with_silu(session, layers.in(session, hint));
  for (size_t i = 0; i < layers.blocks.size(); ++i) {
    const ConvolutionLayer& block = layers.blocks[i];
    h = with_silu(session, i % 2 == 1 ? block.halve(session, h, ConvolutionLayer::Padding::all_sides)
                                      : block(session, h));
  }
  return layers.out(session, h);
}

// The same for every row.
Tensor repeated(Session& session, const Tensor& one, int64_t rows) {
  if (one.dim(0) == rows) return one;
  Tensor all = session.empty({rows, one.dim(1), one.dim(2), one.dim(3)});
  session.run(CopyRows{.rows = rows,
                       .width = one.count(),
                       .from = one.array(),
                       .from_pitch = 0,
                       .to = all.array(),
                       .to_pitch = one.count()});
  return all;
}

}  // namespace

struct ControlNet::Network : ImageNetwork<Layers> {
  using ImageNetwork::ImageNetwork;

  struct Operands {
    Tensor input, sinusoids, hint;
  };
  void walk(Session& session, const Operands& operands, const ImageConditioning& conditioning,
            UNetEncoded& residuals) const;
};

// The residuals' memory is taken in the plan.
void ControlNet::Network::walk(Session& session, const Operands& operands,
                               const ImageConditioning& conditioning, UNetEncoded& residuals) const {
  const Tensor embedding = unet_embedding(session, layers, operands.sinusoids, conditioning.label);
  ImageBlocks blocks(session, embedding, conditioning);
  const Tensor hint = repeated(session, operands.hint, operands.input.dim(0));
  const UNetEncoded encoded =
      run_unet_encoder(session, layers, operands.input, hint, blocks.residual(), blocks.transformer());
  const auto put_out = [&](const LinearLayer& layer, const Tensor& x, Tensor& residual) {
    session.keep(residual, x.shape());
    layer.into(session, x, residual);
  };
  residuals.skips.resize(encoded.skips.size());
  for (size_t i = 0; i < encoded.skips.size(); ++i)
    put_out(layers.skip_outputs[i], encoded.skips[i], residuals.skips[i]);
  put_out(layers.middle_output, encoded.middle, residuals.middle);
}

ControlNet::ControlNet(Backend& backend, const WeightMap& weights, const std::string& prefix,
                       const ImageUNet::Options& options) {
  const size_t before = backend.allocated_bytes();
  const auto head_channels = image_head_channels(weights, options.heads);
  network_ =
      std::make_unique<Network>(backend,
                                Loader::load(backend, weights, prefix, options.type,
                                             [&](Loader& loader) { return build(loader, head_channels); }),
                                options);
  network_->weight_bytes = backend.allocated_bytes() - before;
}

ControlNet::~ControlNet() = default;

ControlNet::Form ControlNet::check(const WeightMap& weights, const std::string& prefix) {
  Form form;
  Loader::check(weights, prefix, [&](Loader& loader) {
    const Layers layers = build(loader, [](int64_t, size_t) { return 1; });
    form = {{layers.in, layers.context, layers.vector, layers.skips}, layers.hint.multiple()};
  });
  return form;
}

int64_t ControlNet::hint_multiple() const {
  return network_->layers.hint.multiple();
}
size_t ControlNet::weight_bytes() const {
  return network_->weight_bytes;
}
size_t ControlNet::activation_bytes() const {
  return network_->arena->capacity();
}

std::shared_ptr<const ImageConditioning> ControlNet::condition(const Tensor& context, const Tensor& vector) {
  return network_->condition(context, vector);
}

Tensor ControlNet::embed_hint(const Tensor& hint) {
  const HintLayers& layers = network_->layers.hint;
  const int64_t multiple = layers.multiple();
  const Shape& shape = hint.shape();
  if (shape.size() != 4 || shape[3] != kColors || shape[1] % multiple != 0 || shape[2] % multiple != 0 ||
      hint.count() == 0)
    throw Error(fmt::format("a ControlNet takes hints [N,H,W,3] with H and W multiples of {}, not {}",
                            multiple, to_string(shape)));
  Tensor embedded;
  const auto walk = [&](Session& session) {
    const Tensor result = embed(session, layers, in_session_type(session, hint));
    session.keep(embedded, result.shape());
    copy(session, result, embedded);
  };
  Session::run(*network_->arena, {}, walk, network_->type.activations);
  return embedded;
}

UNetResiduals ControlNet::forward(const Tensor& x, std::span<const float> timesteps,
                                  const ImageConditioning& conditioning, const Tensor& embedded_hint,
                                  float scale, const Observer& observer) {
  const Layers& layers = network_->layers;
  const int64_t rows = conditioning.label.dim(0);
  check_unet_input(layers, x, rows, timesteps);
  const int64_t hints = embedded_hint.dim(0);
  if (embedded_hint.shape() != Shape{hints, x.dim(1), x.dim(2), layers.model_channels} ||
      (hints != 1 && hints != rows))
    throw Error(fmt::format("a ControlNet's hint {} does not fit latents {}",
                            to_string(embedded_hint.shape()), to_string(x.shape())));
  const Network::Operands operands{
      .input = x,
      .sinusoids = timestep_sinusoids(network_->backend, timesteps, rows, layers.model_channels),
      .hint = embedded_hint};
  UNetResiduals residuals;
  residuals.scale = scale;
  Session::run(
      *network_->arena, observer,
      [&](Session& session) { network_->walk(session, operands, conditioning, residuals.values); },
      network_->type.activations);
  return residuals;
}

// ---------------------------------------------------------------- a prepared call

struct ControlNet::Call::State {
  Network::Operands operands;
  std::shared_ptr<const ImageConditioning> conditioning;
  UNetResiduals residuals;
  std::unique_ptr<PreparedCall> call;
};

ControlNet::Call::Call(ControlNet& network, int64_t height, int64_t width,
                       std::shared_ptr<const ImageConditioning> conditioning, int64_t hints, float scale)
    : state_(std::make_unique<State>()) {
  const Network& own = *network.network_;
  const Layers& layers = own.layers;
  check_unet_size(layers, height, width);
  const int64_t rows = conditioning->label.dim(0);
  if (hints != 1 && hints != rows)
    throw Error(fmt::format("a ControlNet takes 1 hint or {}, not {}", rows, hints));
  const DType type = own.type.activations;
  state_->operands = {
      .input = Tensor::empty(own.backend, {rows, height, width, layers.in}, type),
      .sinusoids = Tensor::empty(own.backend, {rows, layers.model_channels}),
      .hint = Tensor::empty(own.backend, {hints, height, width, layers.model_channels}, type)};
  state_->conditioning = std::move(conditioning);
  state_->residuals.scale = scale;
  state_->call =
      std::make_unique<PreparedCall>(*own.arena, type, [&own, state = state_.get()](Session& session) {
        own.walk(session, state->operands, *state->conditioning, state->residuals.values);
      });
}

ControlNet::Call::~Call() = default;

const Tensor& ControlNet::Call::input() const {
  return state_->operands.input;
}
const Tensor& ControlNet::Call::sinusoids() const {
  return state_->operands.sinusoids;
}
const Tensor& ControlNet::Call::hint() const {
  return state_->operands.hint;
}
const UNetResiduals& ControlNet::Call::residuals() const {
  return state_->residuals;
}
void ControlNet::Call::run() {
  state_->call->run();
}

}  // namespace eg4d
