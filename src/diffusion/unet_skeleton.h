#pragma once

// How the blocks of a diffusion UNet stand together: input blocks, the middle, and output blocks that also
// take what the input blocks put out. The same for pictures and videos, whose blocks differ; a ControlNet is
// the first half alone. Names are those of the single-file checkpoints: time_embed, label_emb, input_blocks,
// middle_block, output_blocks, out.

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <span>
#include <utility>

#include "core/error.h"
#include "diffusion/unet_blocks.h"

namespace eg4d {

// Input blocks and middle.
template <class Residual, class Transformer>
struct UNetEncoderLayers {
  // One entry of input_blocks or output_blocks.
  struct Stage {
    std::string name;
    std::optional<Residual> residual;
    std::optional<Transformer> transformer;
    std::optional<ConvolutionLayer> resample;  // halves in the input blocks, doubles in the output blocks
  };
  int64_t model_channels = 0, embedding = 0, in = 0, vector = 0;
  int64_t context = 0;  // 0: there is no transformer
  LinearLayer time_first, time_second, label_first, label_second;
  ConvolutionLayer in_convolution;
  std::vector<Stage> input;
  std::vector<int64_t> skips;  // channels of what the first convolution and the input blocks put out
  std::optional<Residual> middle_first, middle_last;
  std::optional<Transformer> middle_transformer;

  // Every transformer in the order of execution.
  template <class Visit>
  void each_transformer(Visit&& visit) const {
    for (const Stage& stage : input)
      if (stage.transformer) visit(*stage.transformer);
    if (middle_transformer) visit(*middle_transformer);
  }
  // The height and width of latents must be multiples of it.
  int64_t size_multiple() const {
    return int64_t{1} << std::count_if(input.begin(), input.end(),
                                       [](const Stage& stage) { return stage.resample.has_value(); });
  }
};

template <class Residual, class Transformer>
struct UNetLayers : UNetEncoderLayers<Residual, Transformer> {
  using Encoder = UNetEncoderLayers<Residual, Transformer>;
  using Stage = typename Encoder::Stage;
  int64_t out = 0;
  std::vector<Stage> output;
  NormLayer out_norm;
  ConvolutionLayer out_convolution;

  template <class Visit>
  void each_transformer(Visit&& visit) const {
    Encoder::each_transformer(visit);
    for (const Stage& stage : output)
      if (stage.transformer) visit(*stage.transformer);
  }
};

// Builds the layers while it follows the channels through the network.
template <class Residual, class Transformer>
class UNetBuilder {
 public:
  using Layers = UNetLayers<Residual, Transformer>;
  using Encoder = typename Layers::Encoder;
  // The width of an attention head in the transformers of so many channels, at a level: 0 is that of the
  // latents' own size.
  using HeadChannels = std::function<int64_t(int64_t channels, size_t level)>;

  // in_per_out: 2 where as many channels of a condition stand behind those of the latents, else 1.
  UNetBuilder(Loader& loader, int64_t in_per_out, HeadChannels head_channels)
      : loader_(loader), in_per_out_(in_per_out), head_channels_(std::move(head_channels)) {}

  Layers build() {
    layers_.out =
        loader_.extent({{"out.2.bias", 0}, {"out.2.weight", 0}, {"input_blocks.0.0.weight", 1, in_per_out_}});
    build_encoder_of(in_per_out_ * layers_.out, {"middle_block.1"});
    if (!layers_.middle_last || !layers_.middle_transformer)
      throw Error(fmt::format("the network's middle_block lacks its {}",
                              layers_.middle_last ? "transformer" : "last residual block"));
    skips_ = layers_.skips;
    const auto inputs = static_cast<int64_t>(skips_.size());
    const int64_t outputs = loader_.children("output_blocks");
    if (outputs != inputs)
      throw Error(fmt::format("the network has {} input blocks but {} output blocks", inputs, outputs));
    for (int64_t i = 0; i < outputs; ++i) output(i);
    layers_.out_norm = loader_.group_norm("out.0", channels_, 1e-5f);
    layers_.out_convolution = loader_.convolution("out.2", channels_, layers_.out, 3);
    return std::move(layers_);
  }

  // The first half. Its middle may be one residual block alone, and its transformers may have no blocks,
  // which leaves a norm and two linear layers of them: then nothing looks at the text.
  Encoder build_encoder() {
    std::vector<std::string> transformers = {"middle_block.1"};
    for (int64_t i = 1, inputs = loader_.children("input_blocks"); i < inputs; ++i)
      transformers.push_back(fmt::format("input_blocks.{}.1", i));
    std::erase_if(transformers, [this](const std::string& name) {
      return loader_.at(name).children("transformer_blocks") == 0;
    });
    build_encoder_of(loader_.extent({{"input_blocks.0.0.weight", 1}}), transformers);
    return std::move(layers_);
  }

 private:
  using Stage = typename Layers::Stage;
  static constexpr int kTensorsOfATransformer = 3;  // at least: fewer are surplus, or a convolution's

  // transformers: those that may tell the text's channels, the first one does.
  void build_encoder_of(int64_t in, const std::vector<std::string>& transformers) {
    layers_.in = in;
    layers_.model_channels = loader_.extent({{"time_embed.0.weight", 1},
                                             {"input_blocks.0.0.weight", 0},
                                             {"input_blocks.0.0.bias", 0},
                                             {"out.0.weight", 0}});
    layers_.embedding = loader_.extent({{"time_embed.2.bias", 0},
                                        {"time_embed.0.bias", 0},
                                        {"label_emb.0.2.bias", 0},
                                        {"label_emb.0.0.bias", 0}});
    layers_.vector = loader_.extent({{"label_emb.0.0.weight", 1}});
    if (!transformers.empty()) find_context(transformers.front());
    layers_.time_first = loader_.linear("time_embed.0", layers_.model_channels, layers_.embedding);
    layers_.time_second = loader_.linear("time_embed.2", layers_.embedding, layers_.embedding);
    layers_.label_first = loader_.linear("label_emb.0.0", layers_.vector, layers_.embedding);
    layers_.label_second = loader_.linear("label_emb.0.2", layers_.embedding, layers_.embedding);

    layers_.in_convolution = loader_.convolution("input_blocks.0.0", layers_.in, layers_.model_channels, 3);
    channels_ = layers_.model_channels;
    layers_.skips.push_back(channels_);
    // The first one is the convolution alone, which is too little to count as a part.
    const int64_t inputs = loader_.children("input_blocks");
    for (int64_t i = 1; i < inputs; ++i) input(i);
    middle();
  }

  bool has_middle_transformer() const { return loader_.has_below("middle_block.1", kTensorsOfATransformer); }

  void find_context(const std::string& transformer) {
    if (!loader_.has_below(transformer, kTensorsOfATransformer)) return;
    layers_.context = loader_.at(transformer)
                          .extent({{"transformer_blocks.0.attn2.to_k.weight", 1},
                                   {"transformer_blocks.0.attn2.to_v.weight", 1},
                                   {"time_stack.0.attn2.to_k.weight", 1},
                                   {"time_stack.0.attn2.to_v.weight", 1}});
  }

  Residual residual(const Loader& loader, int64_t in) {
    channels_ = residual_channels(loader);
    return Residual(loader, in, channels_, layers_.embedding);
  }
  Transformer transformer(const Loader& loader) {
    const int64_t head_channels = head_channels_(channels_, level_);
    if (head_channels <= 0 || channels_ % head_channels != 0)
      throw Error(
          fmt::format("{} channels cannot be divided into attention heads of {}: give the file's metadata "
                      "num_head_channels",
                      channels_, head_channels));
    return Transformer(loader, channels_, layers_.context, head_channels);
  }

  void input(int64_t i) {
    Stage stage{fmt::format("input_blocks.{}", i), {}, {}, {}};
    const Loader block = loader_.at(stage.name);
    if (block.has_below("0.op") && !block.has_below("0.in_layers")) {
      stage.resample = block.convolution("0.op", channels_, channels_, 3);
      ++level_;
    } else {
      stage.residual = residual(block.at("0"), channels_);
      if (block.has_below("1", kTensorsOfATransformer)) stage.transformer = transformer(block.at("1"));
    }
    layers_.skips.push_back(channels_);
    layers_.input.push_back(std::move(stage));
  }

  void middle() {
    const Loader block = loader_.at("middle_block");
    layers_.middle_first = residual(block.at("0"), channels_);
    if (has_middle_transformer()) layers_.middle_transformer = transformer(block.at("1"));
    if (block.has_below("2", kTensorsOfATransformer))
      layers_.middle_last = residual(block.at("2"), channels_);
  }

  void output(int64_t i) {
    Stage stage{fmt::format("output_blocks.{}", i), {}, {}, {}};
    const Loader block = loader_.at(stage.name);
    stage.residual = residual(block.at("0"), channels_ + skips_.back());
    skips_.pop_back();
    int64_t next = 1;
    if (block.has_below("1", kTensorsOfATransformer)) {
      stage.transformer = transformer(block.at("1"));
      next = 2;
    }
    if (const std::string name = std::to_string(next); block.has_below(name + ".conv")) {
      stage.resample = block.at(name).convolution("conv", channels_, channels_, 3);
      if (level_ > 0) --level_;
    }
    layers_.output.push_back(std::move(stage));
  }

  Loader& loader_;
  int64_t in_per_out_;
  HeadChannels head_channels_;
  Layers layers_;
  int64_t channels_ = 0;
  size_t level_ = 0;
  std::vector<int64_t> skips_;
};

// SiLU of the sum of the embeddings of time step and vector, which is all that the residual blocks take.
template <class Layers>
Tensor unet_embedding(Session& session, const Layers& layers, const Tensor& sinusoids, const Tensor& label) {
  const Tensor first = layers.time_first(session, in_session_type(session, sinusoids), Activation::silu);
  Tensor sum = layers.time_second(session, first);
  session.observe("time_embed", sum);
  session.observe("label_emb", label);
  session.run(ScaledSum{.count = sum.count(),
                        .a = sum.array(),
                        .b = label.array(),
                        .a_scale = 1,
                        .b_scale = 1,
                        .y = sum.array()});
  session.run(
      Activate{.count = sum.count(), .activation = Activation::silu, .x = sum.array(), .y = sum.array()});
  return sum;
}

// What the input blocks and the middle put out.
struct UNetEncoded {
  std::vector<Tensor> skips;  // of the first convolution and every input block
  Tensor middle;
};

// What goes into the last `depth` output blocks, kept for passes that compute no others (step_cache.h).
struct DeepFeatures {
  Tensor* kept;
  size_t depth;  // at least 1, less than there are output blocks
};

// Numbers that a ControlNet adds to those.
struct UNetResiduals {
  UNetEncoded values;
  float scale = 1;
};

// residual(block, x) and transformer(block, x) apply a block; the transformers are called in the order of
// each_transformer. `add`, where it is defined, is added to what the first convolution puts out.

// What the first convolution and the first `blocks` input blocks put out.
template <class Layers, class ApplyResidual, class ApplyTransformer>
std::vector<Tensor> run_unet_inputs(Session& session, const Layers& layers, const Tensor& latents,
                                    const Tensor& add, size_t blocks, const ApplyResidual& residual,
                                    const ApplyTransformer& transformer) {
  const Tensor x = in_session_type(session, latents);
  std::vector<Tensor> skips;
  skips.push_back(add.defined() ? session.empty(add.shape()) : layers.in_convolution(session, x));
  if (add.defined()) layers.in_convolution.add(session, x, add, skips.back());
  session.observe("input_blocks.0", skips.back());
  for (size_t block = 0; block < blocks; ++block) {
    const auto& stage = layers.input.at(block);
    const Tensor& before = skips.back();
    Tensor h = stage.resample ? stage.resample->halve(session, before, ConvolutionLayer::Padding::all_sides)
                              : residual(*stage.residual, before);
    if (stage.transformer) h = transformer(*stage.transformer, h);
    session.observe(stage.name, h);
    skips.push_back(std::move(h));
  }
  return skips;
}

template <class Layers, class ApplyResidual, class ApplyTransformer>
UNetEncoded run_unet_encoder(Session& session, const Layers& layers, const Tensor& latents, const Tensor& add,
                             const ApplyResidual& residual, const ApplyTransformer& transformer) {
  UNetEncoded encoded;
  encoded.skips = run_unet_inputs(session, layers, latents, add, layers.input.size(), residual, transformer);
  Tensor h = residual(*layers.middle_first, encoded.skips.back());
  if (layers.middle_transformer) h = transformer(*layers.middle_transformer, h);
  if (layers.middle_last) h = residual(*layers.middle_last, h);
  session.observe("middle_block", h);
  encoded.middle = std::move(h);
  return encoded;
}

// Adds what a ControlNet computed.
void add_residuals(Session& session, const UNetResiduals& residuals, const UNetEncoded& encoded);

// The output blocks from `first` on and what follows, of h and what the input blocks put out.
template <class Layers, class ApplyResidual, class ApplyTransformer>
void run_unet_outputs(Session& session, const Layers& layers, Tensor h, std::vector<Tensor> skips,
                      size_t first, const ApplyResidual& residual, const ApplyTransformer& transformer,
                      const Tensor& result, const DeepFeatures* deep = nullptr) {
  for (size_t block = first; block < layers.output.size(); ++block) {
    const auto& stage = layers.output[block];
    if (deep && block + deep->depth == layers.output.size()) {
      session.keep(*deep->kept, h.shape());
      copy(session, h, *deep->kept);
    }
    h = concatenate_channels(session, h, skips.back());
    skips.pop_back();
    h = residual(*stage.residual, h);
    if (stage.transformer) h = transformer(*stage.transformer, h);
    if (stage.resample) {
      h = upsample(session, h);
      h = (*stage.resample)(session, h);
    }
    session.observe(stage.name, h);
  }
  group_norm(session, layers.out_norm, h, h, {.activation = Activation::silu});
  h = layers.out_convolution(session, h);
  copy(session, h, result);
}

// One pass. `residuals` and `deep` may be null. x of any type; result: like x, with `out` channels, of any
// type.
template <class Layers, class ApplyResidual, class ApplyTransformer>
void run_unet(Session& session, const Layers& layers, const Tensor& x, const UNetResiduals* residuals,
              const ApplyResidual& residual, const ApplyTransformer& transformer, const Tensor& result,
              const DeepFeatures* deep = nullptr) {
  UNetEncoded encoded = run_unet_encoder(session, layers, x, {}, residual, transformer);
  if (residuals) add_residuals(session, *residuals, encoded);
  run_unet_outputs(session, layers, std::move(encoded.middle), std::move(encoded.skips), 0, residual,
                   transformer, result, deep);
}

// One that takes what an earlier one kept in the place of all that lies deeper.
template <class Layers, class ApplyResidual, class ApplyTransformer>
void run_shallow_unet(Session& session, const Layers& layers, const Tensor& x, const DeepFeatures& deep,
                      const ApplyResidual& residual, const ApplyTransformer& transformer,
                      const Tensor& result) {
  run_unet_outputs(session, layers, *deep.kept,
                   run_unet_inputs(session, layers, x, {}, deep.depth - 1, residual, transformer),
                   layers.output.size() - deep.depth, residual, transformer, result);
}

// Throws Error unless latents of that size can be halved as often as the network does.
template <class Layers>
void check_unet_size(const Layers& layers, int64_t height, int64_t width) {
  const int64_t multiple = layers.size_multiple();
  if (height < 1 || width < 1 || height % multiple != 0 || width % multiple != 0)
    throw Error(fmt::format("the network takes latents whose height and width are multiples of {}, not {}×{}",
                            multiple, height, width));
}

// Throws Error unless x is [rows,H,W,in] with sides that can be halved, and there is one time step or one per
// row.
template <class Layers>
void check_unet_input(const Layers& layers, const Tensor& x, int64_t rows, std::span<const float> timesteps) {
  const int64_t multiple = layers.size_multiple();
  if (x.shape().size() != 4 || x.dim(0) != rows || x.dim(3) != layers.in || x.dim(1) % multiple != 0 ||
      x.dim(2) % multiple != 0 || x.count() == 0)
    throw Error(fmt::format("the network takes latents [{},H,W,{}] with H and W multiples of {}, not {}",
                            rows, layers.in, multiple, to_string(x.shape())));
  if (timesteps.size() != 1 && timesteps.size() != static_cast<size_t>(rows))
    throw Error(fmt::format("the network takes one time step or {}, not {}", rows, timesteps.size()));
}

// The sinusoids of one time step for all rows, or of one for each: [rows,width].
void write_sinusoids(const Tensor& sinusoids, std::span<const float> timesteps);
Tensor timestep_sinusoids(Backend& backend, std::span<const float> timesteps, int64_t rows, int64_t width);

}  // namespace eg4d
