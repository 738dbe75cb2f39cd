#include "diffusion/video_unet.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "diffusion/conditioning.h"
#include "diffusion/video_blocks.h"

namespace eg4d {
namespace {

constexpr int64_t kDefaultHeadChannels = 64;
constexpr int kTensorsOfATransformer = 3;  // at least: fewer are surplus, or a convolution's

// One entry of input_blocks or output_blocks, or the middle.
struct Stage {
  std::string name;
  std::optional<VideoResidualBlock> residual;
  std::optional<VideoTransformer> transformer;
  std::optional<ConvolutionLayer> resample;  // halves in the input blocks, doubles in the output blocks
};

struct Layers {
  int64_t model_channels = 0, embedding = 0, in = 0, out = 0, context = 0, vector = 0;
  LinearLayer time_first, time_second, label_first, label_second;
  ConvolutionLayer in_convolution, out_convolution;
  NormLayer out_norm;
  std::vector<Stage> input, output;
  std::optional<VideoResidualBlock> middle_first, middle_last;
  std::optional<VideoTransformer> middle_transformer;

  // Every transformer in the order of execution.
  template <class Visit>
  void each_transformer(Visit&& visit) const {
    for (const Stage& stage : input)
      if (stage.transformer) visit(*stage.transformer);
    visit(*middle_transformer);
    for (const Stage& stage : output)
      if (stage.transformer) visit(*stage.transformer);
  }
  int64_t halvings() const {
    return std::count_if(input.begin(), input.end(),
                         [](const Stage& stage) { return stage.resample.has_value(); });
  }
};

int64_t residual_out(const Loader& loader) {
  return loader.extent({{"out_layers.3.bias", 0},
                        {"out_layers.3.weight", 0},
                        {"out_layers.0.weight", 0},
                        {"in_layers.2.bias", 0},
                        {"emb_layers.1.bias", 0}});
}

// Builds the layers while it follows the channels through the network.
class Builder {
 public:
  Builder(Loader& loader, int64_t head_channels) : loader_(loader), head_channels_(head_channels) {}

  Layers build() {
    layers_.model_channels = loader_.extent({{"time_embed.0.weight", 1},
                                             {"input_blocks.0.0.weight", 0},
                                             {"input_blocks.0.0.bias", 0},
                                             {"out.0.weight", 0}});
    layers_.embedding = loader_.extent({{"time_embed.2.bias", 0},
                                        {"time_embed.0.bias", 0},
                                        {"label_emb.0.2.bias", 0},
                                        {"label_emb.0.0.bias", 0}});
    layers_.vector = loader_.extent({{"label_emb.0.0.weight", 1}});
    // The latents and, behind them, as many channels of the condition.
    layers_.out = loader_.extent({{"out.2.bias", 0}, {"out.2.weight", 0}, {"input_blocks.0.0.weight", 1, 2}});
    layers_.in = 2 * layers_.out;
    layers_.context = context_width();
    layers_.time_first = loader_.linear("time_embed.0", layers_.model_channels, layers_.embedding);
    layers_.time_second = loader_.linear("time_embed.2", layers_.embedding, layers_.embedding);
    layers_.label_first = loader_.linear("label_emb.0.0", layers_.vector, layers_.embedding);
    layers_.label_second = loader_.linear("label_emb.0.2", layers_.embedding, layers_.embedding);

    layers_.in_convolution = loader_.convolution("input_blocks.0.0", layers_.in, layers_.model_channels, 3);
    channels_ = layers_.model_channels;
    skips_.push_back(channels_);
    // The first one is the convolution alone, which is too little to count as a part.
    const int64_t inputs = loader_.children("input_blocks");
    for (int64_t i = 1; i < inputs; ++i) input(i);
    middle();
    const int64_t outputs = loader_.children("output_blocks");
    if (outputs != inputs)
      throw Error(fmt::format("the network has {} input blocks but {} output blocks", inputs, outputs));
    for (int64_t i = 0; i < outputs; ++i) output(i);
    layers_.out_norm = loader_.norm("out.0", channels_, 1e-5f);
    layers_.out_convolution = loader_.convolution("out.2", channels_, layers_.out, 3);
    return std::move(layers_);
  }

 private:
  int64_t context_width() const {
    const Loader block = loader_.at("middle_block.1");
    return block.extent({{"transformer_blocks.0.attn2.to_k.weight", 1},
                         {"transformer_blocks.0.attn2.to_v.weight", 1},
                         {"time_stack.0.attn2.to_k.weight", 1},
                         {"time_stack.0.attn2.to_v.weight", 1}});
  }
  VideoResidualBlock residual(const Loader& loader, int64_t in) {
    channels_ = residual_out(loader);
    return VideoResidualBlock(loader, in, channels_, layers_.embedding);
  }
  VideoTransformer transformer(const Loader& loader) {
    if (head_channels_ <= 0 || channels_ % head_channels_ != 0)
      throw Error(
          fmt::format("{} channels cannot be divided into attention heads of {}: give the file's metadata "
                      "num_head_channels",
                      channels_, head_channels_));
    return VideoTransformer(loader, channels_, layers_.context, head_channels_);
  }

  void input(int64_t i) {
    const Loader block = loader_.at(fmt::format("input_blocks.{}", i));
    Stage stage{fmt::format("input_blocks.{}", i), {}, {}, {}};
    if (block.has_below("0.op") && !block.has_below("0.in_layers")) {
      stage.resample = block.convolution("0.op", channels_, channels_, 3);
    } else {
      stage.residual = residual(block.at("0"), channels_);
      if (block.has_below("1", kTensorsOfATransformer)) stage.transformer = transformer(block.at("1"));
    }
    skips_.push_back(channels_);
    layers_.input.push_back(std::move(stage));
  }

  void middle() {
    const Loader block = loader_.at("middle_block");
    layers_.middle_first = residual(block.at("0"), channels_);
    layers_.middle_transformer = transformer(block.at("1"));
    layers_.middle_last = residual(block.at("2"), channels_);
  }

  void output(int64_t i) {
    const Loader block = loader_.at(fmt::format("output_blocks.{}", i));
    Stage stage{fmt::format("output_blocks.{}", i), {}, {}, {}};
    stage.residual = residual(block.at("0"), channels_ + skips_.back());
    skips_.pop_back();
    int64_t next = 1;
    if (block.has_below("1", kTensorsOfATransformer)) {
      stage.transformer = transformer(block.at("1"));
      next = 2;
    }
    if (const std::string name = std::to_string(next); block.has_below(name + ".conv"))
      stage.resample = block.at(name).convolution("conv", channels_, channels_, 3);
    layers_.output.push_back(std::move(stage));
  }

  Loader& loader_;
  int64_t head_channels_;
  Layers layers_;
  int64_t channels_ = 0;
  std::vector<int64_t> skips_;
};

int64_t head_channels_of(const WeightMap& weights, int64_t wanted) {
  if (wanted > 0) return wanted;
  return weights.metadata_number("num_head_channels", kDefaultHeadChannels);
}

}  // namespace

struct VideoUNet::Conditioning {
  int64_t frames = 1;
  Tensor label;  // [N,embedding]
  std::vector<TransformerConstants> transformers;
};

struct VideoUNet::Network {
  Network(Backend& b, Layers l) : backend(b), arena(b), layers(std::move(l)) {}

  Tensor embedding(Session& session, const Tensor& sinusoids, const Tensor& label) const;
  void body(Session& session, const Tensor& x, const Tensor& sinusoids, const Conditioning& conditioning,
            AttentionInjection* injection, const Tensor& result) const;

  Backend& backend;
  Arena arena;
  Layers layers;
  size_t weight_bytes = 0;
};

VideoUNet::VideoUNet(Backend& backend, const WeightMap& weights, const std::string& prefix,
                     const Options& options) {
  const size_t before = backend.allocated_bytes();
  const int64_t head_channels = head_channels_of(weights, options.head_channels);
  network_ = std::make_unique<Network>(
      backend, Loader::load(backend, weights, prefix, options.precision,
                            [&](Loader& loader) { return Builder(loader, head_channels).build(); }));
  network_->weight_bytes = backend.allocated_bytes() - before;
}

VideoUNet::~VideoUNet() = default;

void VideoUNet::check(const WeightMap& weights, const std::string& prefix) {
  // How the channels are divided into heads leaves no trace in the shapes.
  Loader::check(weights, prefix, [](Loader& loader) { Builder(loader, 1).build(); });
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
  return int64_t{1} << network_->layers.halvings();
}
size_t VideoUNet::weight_bytes() const {
  return network_->weight_bytes;
}
size_t VideoUNet::activation_bytes() const {
  return network_->arena.capacity();
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

TransformerConstants kept(const TransformerConstants& constants) {
  TransformerConstants copy;
  for (const Tensor& tensor : constants.spatial) copy.spatial.push_back(tensor.clone());
  for (const Tensor& tensor : constants.temporal) copy.temporal.push_back(tensor.clone());
  copy.frame_position = constants.frame_position.clone();
  return copy;
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
  auto conditioning = std::make_shared<Conditioning>();
  conditioning->frames = frames;
  const Tensor tokens = context.reshaped({rows, layers.context});
  std::map<int64_t, Tensor> sinusoids;  // by width
  layers.each_transformer([&](const VideoTransformer& transformer) {
    const int64_t width = transformer.channels();
    if (!sinusoids.count(width)) sinusoids[width] = frame_sinusoids(network_->backend, frames, width);
  });
  Session::run(network_->arena, {}, [&](Session& session) {
    const Tensor label = layers.label_second(session, layers.label_first(session, vector, Activation::silu));
    if (!session.planning()) conditioning->label = label.clone();
    layers.each_transformer([&](const VideoTransformer& transformer) {
      const TransformerConstants constants =
          transformer.constants(session, tokens, sinusoids.at(transformer.channels()));
      if (!session.planning()) conditioning->transformers.push_back(kept(constants));
    });
  });
  return conditioning;
}

// ---------------------------------------------------------------- forward

// SiLU of the sum of the embeddings of time step and vector, which is all that the residual blocks take.
Tensor VideoUNet::Network::embedding(Session& session, const Tensor& sinusoids, const Tensor& label) const {
  Tensor sum = layers.time_second(session, layers.time_first(session, sinusoids, Activation::silu));
  session.observe("time_embed", sum);
  session.observe("label_emb", label);
  session.ops().scaled_sum({.count = sum.count(),
                            .a = sum.data(),
                            .b = label.data(),
                            .a_scale = 1,
                            .b_scale = 1,
                            .y = sum.data()});
  session.ops().activate(
      {.count = sum.count(), .activation = Activation::silu, .x = sum.data(), .y = sum.data()});
  return sum;
}

void VideoUNet::Network::body(Session& session, const Tensor& x, const Tensor& sinusoids,
                              const Conditioning& conditioning, AttentionInjection* injection,
                              const Tensor& result) const {
  const Tensor emb = embedding(session, sinusoids, conditioning.label);
  const int64_t frames = conditioning.frames;
  size_t transformer_index = 0, injection_layer = 0;
  auto transform = [&](const VideoTransformer& transformer, const Tensor& h) {
    Tensor y = transformer(session, h,
                           {.frames = frames,
                            .constants = &conditioning.transformers[transformer_index++],
                            .injection = injection,
                            .first_injection_layer = injection_layer});
    injection_layer += transformer.depth();
    return y;
  };

  std::vector<Tensor> skips{layers.in_convolution(session, x)};
  session.observe("input_blocks.0", skips.back());
  for (const Stage& stage : layers.input) {
    Tensor h = stage.resample
                   ? stage.resample->halve(session, skips.back(), ConvolutionLayer::Padding::all_sides)
                   : (*stage.residual)(session, skips.back(), emb, frames);
    if (stage.transformer) h = transform(*stage.transformer, h);
    session.observe(stage.name, h);
    skips.push_back(std::move(h));
  }

  Tensor h = (*layers.middle_first)(session, skips.back(), emb, frames);
  h = transform(*layers.middle_transformer, h);
  h = (*layers.middle_last)(session, h, emb, frames);
  session.observe("middle_block", h);

  for (const Stage& stage : layers.output) {
    h = concatenate_channels(session, h, skips.back());
    skips.pop_back();
    h = (*stage.residual)(session, h, emb, frames);
    if (stage.transformer) h = transform(*stage.transformer, h);
    if (stage.resample) {
      h = upsample(session, h);
      h = (*stage.resample)(session, h);
    }
    session.observe(stage.name, h);
  }
  group_norm(session, layers.out_norm, h, h, {.activation = Activation::silu});
  h = layers.out_convolution(session, h);
  session.ops().copy_rows({.rows = 1, .width = h.count(), .from = h.data(), .to = result.data()});
}

Tensor VideoUNet::forward(const Tensor& x, std::span<const float> timesteps, const Conditioning& conditioning,
                          AttentionInjection* injection, const Observer& observer) {
  const Layers& layers = network_->layers;
  const int64_t rows = conditioning.label.dim(0);
  if (x.shape().size() != 4 || x.dim(0) != rows || x.dim(3) != layers.in || x.dim(1) % size_multiple() != 0 ||
      x.dim(2) % size_multiple() != 0 || x.count() == 0)
    throw Error(fmt::format("the network takes latents [{},H,W,{}] with H and W multiples of {}, not {}",
                            rows, layers.in, size_multiple(), to_string(x.shape())));
  if (timesteps.size() != 1 && timesteps.size() != static_cast<size_t>(rows))
    throw Error(fmt::format("the network takes one time step or {}, not {}", rows, timesteps.size()));
  std::vector<double> steps(static_cast<size_t>(rows));
  for (size_t i = 0; i < steps.size(); ++i)
    steps[i] = static_cast<double>(timesteps[timesteps.size() == 1 ? 0 : i]);
  const int64_t width = layers.model_channels;
  const Tensor sinusoids = Tensor::from_host<float>(network_->backend, {rows, width},
                                                    sinusoidal_embedding(steps, static_cast<int>(width)));
  Tensor result = Tensor::empty(network_->backend, {rows, x.dim(1), x.dim(2), layers.out});
  Session::run(network_->arena, observer, [&](Session& session) {
    network_->body(session, x, sinusoids, conditioning, injection, result);
  });
  return result;
}

}  // namespace eg4d
