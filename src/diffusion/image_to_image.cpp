#include "diffusion/image_to_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <tuple>

#include "core/error.h"
#include "diffusion/conditioning.h"
#include "diffusion/unet_frame.h"
#include "nn/network_type.h"

namespace eg4d {
namespace {

constexpr int64_t kColors = 3;

int64_t round_up(int64_t count, int64_t unit) {
  return (count + unit - 1) / unit * unit;
}

// [height,width,3] → [padded_height,padded_width,3], the border repeated.
std::vector<float> padded(std::span<const float> picture, int64_t height, int64_t width,
                          int64_t padded_height, int64_t padded_width) {
  std::vector<float> values;
  values.reserve(static_cast<size_t>(padded_height * padded_width * kColors));
  for (int64_t y = 0; y < padded_height; ++y)
    for (int64_t x = 0; x < padded_width; ++x) {
      const size_t pixel =
          static_cast<size_t>((std::min(y, height - 1) * width + std::min(x, width - 1)) * kColors);
      values.insert(values.end(), &picture[pixel], &picture[pixel] + kColors);
    }
  return values;
}

// The same, [0,1] → [-1,1].
std::vector<float> padded_to_model_range(std::span<const float> picture, int64_t height, int64_t width,
                                         int64_t padded_height, int64_t padded_width) {
  std::vector<float> values = padded(picture, height, width, padded_height, padded_width);
  for (float& value : values) value = 2 * value - 1;
  return values;
}

std::vector<float> cut_out(const std::vector<float>& picture, int64_t padded_width, int64_t height,
                           int64_t width) {
  if (padded_width == width) return {picture.begin(), picture.begin() + height * width * kColors};
  std::vector<float> cut;
  cut.reserve(static_cast<size_t>(height * width * kColors));
  for (int64_t y = 0; y < height; ++y) {
    const auto row = picture.begin() + y * padded_width * kColors;
    cut.insert(cut.end(), row, row + width * kColors);
  }
  return cut;
}

// The other way for gradients: [height,width,3] of [padded_height,padded_width,3].
std::vector<float> gradient_of_padding(std::span<const float> d_padded, int64_t height, int64_t width,
                                       int64_t padded_height, int64_t padded_width) {
  std::vector<float> gradient(static_cast<size_t>(height * width * kColors));
  size_t i = 0;
  for (int64_t y = 0; y < padded_height; ++y)
    for (int64_t x = 0; x < padded_width; ++x) {
      const size_t pixel =
          static_cast<size_t>((std::min(y, height - 1) * width + std::min(x, width - 1)) * kColors);
      for (size_t c = 0; c < kColors; ++c) gradient[pixel + c] += 2 * d_padded[i++];
    }
  return gradient;
}

}  // namespace

struct ImageToImage::Control {
  Tensor hint;
  float scale;
};

struct ImageToImage::Parts {
  Parts(Backend& b, const ImageCheckpoint& checkpoint, DType precision,
        const ControlNetCheckpoint* control_checkpoint)
      : backend(b),
        config(checkpoint.config()),
        size_width(checkpoint.size_width()),
        type(network_type(b, precision)),
        arena(std::make_shared<Arena>(b)),
        encoder(checkpoint.encoder(b, exact_network_type(b, precision))),
        decoder(checkpoint.decoder(b, exact_network_type(b, precision), arena)),
        unet(checkpoint.unet(b, type, arena)),
        control(control_checkpoint ? control_checkpoint->network(b, type, arena) : nullptr) {}

  // Of both networks; the ControlNet's is null where there is none.
  struct Conditioning {
    std::shared_ptr<const ImageConditioning> unet, control;
  };
  const Conditioning& conditioning(int64_t height, int64_t width, bool guided);

  // Both networks' calls for one size; the ControlNet's is null where it is not asked.
  struct Prediction {
    std::unique_ptr<ControlNet::Call> control;
    std::unique_ptr<ImageUNet::Call> unet;
  };
  Prediction& prediction(int64_t height, int64_t width, bool guided, const Control* control);

  Backend& backend;
  ImageModelConfig config;
  int64_t size_width;
  NetworkType type;
  // Not the encoder's: its activations stay while the UNet is asked in distill().
  std::shared_ptr<Arena> arena;
  std::unique_ptr<AutoencoderEncoder> encoder;
  std::unique_ptr<AutoencoderDecoder> decoder;
  std::unique_ptr<ImageUNet> unet;
  std::unique_ptr<ControlNet> control;
  PromptEmbedding prompt, negative;
  std::map<std::tuple<int64_t, int64_t, bool>, Conditioning> conditionings;
  std::map<std::tuple<int64_t, int64_t, bool, std::optional<float>>, Prediction> predictions;
  std::map<Shape, std::unique_ptr<PreparedFunction>> encoders, decoders;  // by the input's shape
};

ImageToImage::ImageToImage(Backend& backend, const ImageCheckpoint& checkpoint, DType precision,
                           const ControlNetCheckpoint* control) {
  if (control) control->check_fits(checkpoint);
  parts_ = std::make_unique<Parts>(backend, checkpoint, precision, control);
}

ImageToImage::~ImageToImage() = default;

void ImageToImage::set_prompt(PromptEmbedding prompt, PromptEmbedding negative) {
  parts_->prompt = std::move(prompt);
  parts_->negative = std::move(negative);
  parts_->predictions.clear();
  parts_->conditionings.clear();
}

// Of latents of that size; with guidance for two rows, the negative prompt first.
const ImageToImage::Parts::Conditioning& ImageToImage::Parts::conditioning(int64_t height, int64_t width,
                                                                           bool guided) {
  Conditioning& kept = conditionings[{height, width, guided}];
  if (kept.unet) return kept;
  const double decoded_height = static_cast<double>(height * encoder->size_multiple()),
               decoded_width = static_cast<double>(width * encoder->size_multiple());
  const std::vector<double> sizes = {decoded_height, decoded_width, 0, 0, decoded_height, decoded_width};
  const std::vector<float> sinusoids = sinusoidal_embedding(sizes, static_cast<int>(size_width));
  std::vector<float> context, vector;
  std::vector<const PromptEmbedding*> rows;
  if (guided) rows.push_back(&negative);
  rows.push_back(&prompt);
  for (const PromptEmbedding* row : rows) {
    if (row->context.empty()) throw Error("no prompt was set for the refinement");
    context.insert(context.end(), row->context.begin(), row->context.end());
    vector.insert(vector.end(), row->pooled.begin(), row->pooled.end());
    vector.insert(vector.end(), sinusoids.begin(), sinusoids.end());
  }
  const auto count = static_cast<int64_t>(rows.size());
  const Tensor tokens = Tensor::from_host<float>(
                   backend, {count, static_cast<int64_t>(ClipTokenizer::kContext), unet->context_width()},
                   context),
               numbers = Tensor::from_host<float>(backend, {count, unet->vector_width()}, vector);
  if (control) kept.control = control->condition(tokens, numbers);
  kept.unet = unet->condition(tokens, numbers);
  return kept;
}

ImageToImage::Parts::Prediction& ImageToImage::Parts::prediction(int64_t height, int64_t width, bool guided,
                                                                 const Control* with) {
  const std::optional<float> scale = with ? std::optional(with->scale) : std::nullopt;
  Prediction& kept = predictions[{height, width, guided, scale}];
  if (kept.unet) return kept;
  const Conditioning& own = conditioning(height, width, guided);
  ImageUNet::Call::Shared shared;
  if (with) {
    kept.control = std::make_unique<ControlNet::Call>(*control, height, width, own.control, with->hint.dim(0),
                                                      with->scale);
    shared = {kept.control->input(), kept.control->sinusoids(), &kept.control->residuals()};
  }
  kept.unet = std::make_unique<ImageUNet::Call>(*unet, height, width, own.unet, shared);
  return kept;
}

namespace {

// The function prepared for inputs of that shape.
template <class Prepare>
PreparedFunction& for_shape(std::map<Shape, std::unique_ptr<PreparedFunction>>& functions, const Shape& shape,
                            const Prepare& prepare) {
  std::unique_ptr<PreparedFunction>& function = functions[shape];
  if (!function) function = prepare(shape);
  return *function;
}

}  // namespace

std::vector<float> ImageToImage::predict_noise(const Latents& noisy, double timestep, double guidance) {
  return predict(noisy, timestep, guidance, nullptr);
}

std::vector<float> ImageToImage::predict(const Latents& noisy, double timestep, double guidance,
                                         const Control* control) {
  const bool guided = guidance > 1;
  Parts::Prediction& call = parts_->prediction(noisy.height, noisy.width, guided, control);
  std::vector<float> input = noisy.values;
  if (guided) input.insert(input.end(), noisy.values.begin(), noisy.values.end());
  const Tensor x = Tensor::from_host<float>(
      parts_->backend, {guided ? 2 : 1, noisy.height, noisy.width, parts_->unet->channels()}, input);
  parts_->backend.run(Convert{.count = x.count(), .x = x.array(), .y = call.unet->input().array()});
  call.unet->set_timestep(static_cast<float>(timestep));
  if (control) {
    const Tensor& hint = call.control->hint();
    parts_->backend.run(CopyBytes{hint.raw(), control->hint.raw(), hint.bytes()});
    call.control->run();
  }
  call.unet->run();
  std::vector<float> prediction = call.unet->prediction().to_host();
  if (!guided) return prediction;
  const size_t count = noisy.values.size();
  for (size_t i = 0; i < count; ++i)
    prediction[i] += static_cast<float>(guidance) * (prediction[count + i] - prediction[i]);
  prediction.resize(count);
  return prediction;
}

ImageToImage::Latents ImageToImage::encode(std::span<const float> picture, int64_t height, int64_t width,
                                           NormalStream* noise) {
  if (height < 1 || width < 1 || picture.size() != static_cast<size_t>(height * width * kColors))
    throw Error(fmt::format("the refinement takes pictures [height,width,3], not {} numbers for {}×{}",
                            picture.size(), height, width));
  const int64_t padded_height = round_up(height, size_multiple()),
                padded_width = round_up(width, size_multiple());
  PreparedFunction& encoder =
      for_shape(parts_->encoders, {1, padded_height, padded_width, kColors},
                [&](const Shape& shape) { return parts_->encoder->prepare_moments(shape); });
  const Tensor& moments = encoder.output();
  const std::vector<float> values =
      encoder.apply(padded_to_model_range(picture, height, width, padded_height, padded_width));
  const int64_t channels = moments.dim(3) / 2, pixels = moments.dim(1) * moments.dim(2);
  Latents latents{moments.dim(1), moments.dim(2), {}};
  const std::vector<float> sample =
      noise ? draw_channels_last(*noise, 1, static_cast<size_t>(channels), static_cast<size_t>(pixels))
            : std::vector<float>(static_cast<size_t>(channels * pixels));
  latents.values = sample_moments(values, sample, channels);
  for (float& value : latents.values) value *= parts_->config.latent_scale;
  return latents;
}

std::vector<float> ImageToImage::decode(const Latents& latents) {
  PreparedFunction& decoder = for_shape(
      parts_->decoders, {1, latents.height, latents.width, parts_->unet->channels()},
      [&](const Shape& shape) { return parts_->decoder->prepare(shape, parts_->config.latent_scale); });
  std::vector<float> picture = decoder.apply(latents.values);
  for (float& value : picture) value = std::clamp(value / 2 + 0.5f, 0.0f, 1.0f);
  return picture;
}

std::vector<float> ImageToImage::refine(std::span<const float> picture, int64_t height, int64_t width,
                                        const Options& options, NormalStream& noise,
                                        std::span<const float> hint) {
  const ImageEulerSampler sampler(parts_->config.schedule, options.steps, options.sampler);
  const int first = sampler.first_step(options.strength);
  Latents latents = encode(picture, height, width, &noise);
  std::optional<Control> control;
  if (!hint.empty()) control = embed_hint(hint, height, width, options.control_scale);
  const auto channels = static_cast<size_t>(parts_->unet->channels());
  const size_t pixels = latents.values.size() / channels;
  sampler.add_noise(first, draw_channels_last(noise, 1, channels, pixels), latents.values);
  for (int step = first; step < sampler.steps(); ++step) {
    const Latents input{latents.height, latents.width, sampler.network_input(step, latents.values)};
    const float timestep = sampler.timesteps()[static_cast<size_t>(step)];
    const std::vector<float> predicted =
        predict(input, timestep, options.guidance, control ? &*control : nullptr);
    std::vector<float> fresh;
    if (sampler.draws_noise()) fresh = draw_channels_last(noise, 1, channels, pixels);
    sampler.advance(step, predicted, fresh, latents.values);
  }
  return cut_out(decode(latents), latents.width * parts_->encoder->size_multiple(), height, width);
}

ImageToImage::Control ImageToImage::embed_hint(std::span<const float> hint, int64_t height, int64_t width,
                                               float scale) {
  if (!parts_->control) throw Error("a hint was given, but no ControlNet was loaded");
  if (hint.size() != static_cast<size_t>(height * width * kColors))
    throw Error(fmt::format("the hint for a picture of {}×{} has {} numbers", width, height, hint.size()));
  const int64_t padded_height = round_up(height, size_multiple()),
                padded_width = round_up(width, size_multiple());
  const Tensor input = Tensor::from_host<float>(parts_->backend, {1, padded_height, padded_width, kColors},
                                                padded(hint, height, width, padded_height, padded_width));
  return {parts_->control->embed_hint(input), scale};
}

// w(t)·(ε̂ - ε) at every number of the latents.
std::vector<float> ImageToImage::score_difference(const Latents& latents, const Distillation& how,
                                                  NormalStream& noise) {
  const std::vector<double> alphas = cumulative_alphas(schedule());
  const double steps = static_cast<double>(alphas.size());
  const double timestep = std::clamp(std::floor(how.share * steps), 0.0, steps - 1);
  const double alpha = alphas[static_cast<size_t>(timestep)];
  const auto channels = static_cast<size_t>(parts_->unet->channels());
  const std::vector<float> drawn = draw_channels_last(noise, 1, channels, latents.values.size() / channels);
  Latents noisy = latents;
  for (size_t i = 0; i < drawn.size(); ++i)
    noisy.values[i] =
        static_cast<float>(std::sqrt(alpha) * latents.values[i] + std::sqrt(1 - alpha) * drawn[i]);
  std::vector<float> difference = predict_noise(noisy, timestep, how.guidance);
  for (size_t i = 0; i < drawn.size(); ++i)
    difference[i] = static_cast<float>(1 - alpha) * (difference[i] - drawn[i]);
  return difference;
}

void ImageToImage::distill(const Tensor& picture, const Distillation& how, NormalStream& noise,
                           const Tensor& d_picture) {
  Backend& backend = parts_->backend;
  const int64_t height = picture.dim(0), width = picture.dim(1);
  const int64_t padded_height = round_up(height, size_multiple()),
                padded_width = round_up(width, size_multiple());
  const Shape padded{1, padded_height, padded_width, kColors};
  const Tensor input = Tensor::from_host<float>(
      backend, padded, padded_to_model_range(picture.to_host(), height, width, padded_height, padded_width));
  const Tensor d_input = Tensor::zeros(backend, padded);
  const float scale = parts_->config.latent_scale;
  parts_->encoder->differentiate(
      input,
      [&](const Tensor& mode) {
        Latents latents{mode.dim(1), mode.dim(2), mode.to_host()};
        for (float& value : latents.values) value *= scale;
        std::vector<float> gradient = score_difference(latents, how, noise);
        for (float& value : gradient) value *= how.weight * scale / static_cast<float>(gradient.size());
        return Tensor::from_host<float>(backend, mode.shape(), gradient);
      },
      d_input);
  const Tensor gradient = Tensor::from_host<float>(
      backend, picture.shape(),
      gradient_of_padding(d_input.to_host(), height, width, padded_height, padded_width));
  backend.run(ScaledSum{.count = gradient.count(),
                        .a = d_picture.array(),
                        .b = gradient.array(),
                        .b_scale = 1,
                        .y = d_picture.array()});
}

const NoiseSchedule& ImageToImage::schedule() const {
  return parts_->config.schedule;
}
int64_t ImageToImage::size_multiple() const {
  return parts_->encoder->size_multiple() * parts_->unet->size_multiple();
}
size_t ImageToImage::weight_bytes() const {
  return parts_->unet->weight_bytes() + (parts_->control ? parts_->control->weight_bytes() : 0);
}

}  // namespace eg4d
