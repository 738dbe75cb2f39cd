#include "diffusion/image_to_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <tuple>

#include "core/error.h"
#include "diffusion/conditioning.h"
#include "diffusion/picture_decoder.h"
#include "diffusion/unet_skeleton.h"
#include "nn/network_type.h"

namespace eg4d {
namespace {

constexpr int64_t kColors = 3;

int64_t round_up(int64_t count, int64_t unit) {
  return (count + unit - 1) / unit * unit;
}

// [height,width,3] → [1,out_height,out_width,3], scale·x + shift: the border repeated, or cut off.
FitPicture fitting(int64_t height, int64_t width, int64_t out_height, int64_t out_width, float scale = 1,
                   float shift = 0) {
  return {.height = height,
          .width = width,
          .channels = kColors,
          .out_height = out_height,
          .out_width = out_width,
          .scale = scale,
          .shift = shift};
}

void fit_into(FitPicture fit, const Tensor& x, const Tensor& y) {
  fit.x = x.data();
  fit.y = y.data();
  y.backend().run(fit);
}

Tensor fitted(const FitPicture& fit, const Tensor& picture) {
  Tensor result = Tensor::empty(picture.backend(), {1, fit.out_height, fit.out_width, kColors});
  fit_into(fit, picture, result);
  return result;
}

// [0,1] → [-1,1].
FitPicture fitting_to_model(const Tensor& picture, int64_t multiple) {
  const int64_t height = picture.dim(0), width = picture.dim(1);
  return fitting(height, width, round_up(height, multiple), round_up(width, multiple), 2, -1);
}

// y = a·a_scale + b·b_scale; b may be undefined. In place where y is one of them.
void sum(const Tensor& a, float a_scale, const Tensor& b, float b_scale, const Tensor& y) {
  y.backend().run(ScaledSum{.count = y.count(),
                            .a = a.array(),
                            .b = b.defined() ? ConstArray(b.array()) : ConstArray(),
                            .a_scale = a_scale,
                            .b_scale = b_scale,
                            .y = y.array()});
}

// One [channels,h,w] array of noise, as latents are.
Tensor drawn_like(const Tensor& latents, NormalStream& noise) {
  const auto channels = static_cast<size_t>(latents.dim(3));
  return Tensor::from_host<float>(
      latents.backend(), latents.shape(),
      draw_channels_last(noise, 1, channels, static_cast<size_t>(latents.count()) / channels));
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
        exact_decoder(checkpoint.decoder(b, exact_network_type(b, precision), arena)),
        half_decoder(precision == DType::f16 ? checkpoint.decoder(b, type, arena) : nullptr),
        decoder(
            b, precision,
            [this](const NetworkType& wanted) -> AutoencoderDecoder& {
              return wanted.activations == DType::f16 ? *half_decoder : *exact_decoder;
            },
            config.latent_scale),
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
  std::unique_ptr<AutoencoderDecoder> exact_decoder, half_decoder;
  PictureDecoder decoder;
  std::unique_ptr<ImageUNet> unet;
  std::unique_ptr<ControlNet> control;
  PromptEmbedding prompt, negative;
  std::map<std::tuple<int64_t, int64_t, bool>, Conditioning> conditionings;
  std::map<std::tuple<int64_t, int64_t, bool, std::optional<float>>, Prediction> predictions;
  std::map<Shape, std::unique_ptr<PreparedFunction>> encoders;  // by the input's shape
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

Tensor ImageToImage::predict_noise(const Tensor& noisy, double timestep, double guidance) {
  return predict({.count = noisy.count(), .latent = noisy.data()}, noisy.dim(1), noisy.dim(2), timestep,
                 guidance, nullptr);
}

// In the memory of the call's prediction, until the next call of that size.
Tensor ImageToImage::predict(NoisyLatents noisy, int64_t height, int64_t width, double timestep,
                             double guidance, const Control* control) {
  Backend& backend = parts_->backend;
  const bool guided = guidance > 1;
  Parts::Prediction& call = parts_->prediction(height, width, guided, control);
  noisy.copies = guided ? 2 : 1;
  noisy.y = call.unet->input().array();
  backend.run(noisy);
  call.unet->set_timestep(static_cast<float>(timestep));
  if (control) {
    const Tensor& hint = call.control->hint();
    backend.run(CopyBytes{hint.raw(), control->hint.raw(), hint.bytes()});
    call.control->run();
  }
  call.unet->run();
  const Tensor& both = call.unet->prediction();
  if (!guided) return both;
  const Tensor unconditional = both.rows(0, 1), difference = both.rows(1, 1);
  sum(difference, 1, unconditional, -1, difference);
  sum(unconditional, 1, difference, static_cast<float>(guidance), unconditional);
  return unconditional;
}

Tensor ImageToImage::encode(const Tensor& picture, NormalStream* noise) {
  const FitPicture fit = fitting_to_model(picture, size_multiple());
  const Shape shape{1, fit.out_height, fit.out_width, kColors};
  std::unique_ptr<PreparedFunction>& prepared = parts_->encoders[shape];
  if (!prepared) prepared = parts_->encoder->prepare_moments(shape);
  PreparedFunction& encoder = *prepared;
  fit_into(fit, picture, encoder.input());
  encoder.run();
  const Tensor& moments = encoder.output();
  Tensor latents = Tensor::empty(parts_->backend, {1, moments.dim(1), moments.dim(2), moments.dim(3) / 2});
  const Tensor drawn = noise ? drawn_like(latents, *noise) : Tensor();
  parts_->backend.run(SampleMoments{.positions = latents.dim(1) * latents.dim(2),
                                    .channels = latents.dim(3),
                                    .moments = moments.data(),
                                    .noise = drawn.defined() ? drawn.data() : nullptr,
                                    .scale = parts_->config.latent_scale,
                                    .y = latents.data()});
  return latents;
}

Tensor ImageToImage::decode(const Tensor& latents, int64_t height, int64_t width) {
  const Tensor& decoded = parts_->decoder.decode(latents);
  const FitPicture fit = fitting(decoded.dim(1), decoded.dim(2), height, width, 0.5f, 0.5f);
  Tensor picture = fitted(fit, decoded).reshaped({height, width, kColors});
  parts_->backend.run(ClampUnit{picture.data(), picture.count()});
  return picture;
}

std::vector<float> ImageToImage::refine(std::span<const float> picture, int64_t height, int64_t width,
                                        const Options& options, NormalStream& noise,
                                        std::span<const float> hint) {
  const ImageEulerSampler sampler(parts_->config.schedule, options.steps, options.sampler);
  const int first = sampler.first_step(options.strength);
  if (height < 1 || width < 1 || picture.size() != static_cast<size_t>(height * width * kColors))
    throw Error(fmt::format("the refinement takes pictures [height,width,3], not {} numbers for {}×{}",
                            picture.size(), height, width));
  const Tensor latents =
      encode(Tensor::from_host(parts_->backend, {height, width, kColors}, picture), &noise);
  std::optional<Control> control;
  if (!hint.empty()) control = embed_hint(hint, height, width, options.control_scale);
  sampler.add_noise(first, drawn_like(latents, noise), latents);
  for (int step = first; step < sampler.steps(); ++step) {
    const Tensor predicted = predict(sampler.network_input(step, latents), latents.dim(1), latents.dim(2),
                                     sampler.timesteps()[static_cast<size_t>(step)], options.guidance,
                                     control ? &*control : nullptr);
    sampler.advance(step, predicted, sampler.draws_noise() ? drawn_like(latents, noise) : Tensor(), latents);
  }
  return decode(latents, height, width).to_host();
}

ImageToImage::Control ImageToImage::embed_hint(std::span<const float> hint, int64_t height, int64_t width,
                                               float scale) {
  if (!parts_->control) throw Error("a hint was given, but no ControlNet was loaded");
  if (hint.size() != static_cast<size_t>(height * width * kColors))
    throw Error(fmt::format("the hint for a picture of {}×{} has {} numbers", width, height, hint.size()));
  const Tensor input = Tensor::from_host(parts_->backend, {height, width, kColors}, hint);
  const int64_t multiple = size_multiple();
  return {parts_->control->embed_hint(
              fitted(fitting(height, width, round_up(height, multiple), round_up(width, multiple)), input)),
          scale};
}

// w(t)·(ε̂ - ε) at every number of the latents.
Tensor ImageToImage::score_difference(const Tensor& latents, const Distillation& how, NormalStream& noise) {
  const std::vector<double> alphas = cumulative_alphas(schedule());
  const double steps = static_cast<double>(alphas.size());
  const double timestep = std::clamp(std::floor(how.share * steps), 0.0, steps - 1);
  const double alpha = alphas[static_cast<size_t>(timestep)];
  const Tensor drawn = drawn_like(latents, noise);
  Tensor difference = predict({.count = latents.count(),
                               .latent = latents.data(),
                               .noise = drawn.data(),
                               .latent_scale = std::sqrt(alpha),
                               .noise_scale = std::sqrt(1 - alpha)},
                              latents.dim(1), latents.dim(2), timestep, how.guidance, nullptr);
  sum(difference, 1, drawn, -1, difference);
  sum(difference, static_cast<float>(1 - alpha), {}, 0, difference);
  return difference;
}

void ImageToImage::distill(const Tensor& picture, const Distillation& how, NormalStream& noise,
                           const Tensor& d_picture) {
  const FitPicture fit = fitting_to_model(picture, size_multiple());
  const Tensor input = fitted(fit, picture), d_input = Tensor::zeros(parts_->backend, input.shape());
  const float scale = parts_->config.latent_scale;
  parts_->encoder->differentiate(
      input,
      [&](const Tensor& mode) {
        const Tensor latents = Tensor::empty(parts_->backend, mode.shape());
        sum(mode, scale, {}, 0, latents);
        Tensor gradient = score_difference(latents, how, noise);
        const float among = how.sum ? 1 : static_cast<float>(gradient.count());
        sum(gradient, how.weight * scale / among, {}, 0, gradient);
        return gradient;
      },
      d_input);
  parts_->backend.run(FitPictureBackward{.forward = fit, .d_y = d_input.data(), .d_x = d_picture.data()});
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
