#include "pipeline/diffusion_painter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "core/config.h"
#include "core/error.h"
#include "core/threads.h"
#include "picture/picture_resize.h"
#include "pipeline/stage_folder.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kPixelGrain = int64_t{1} << 15;  // values that a thread takes at a time
constexpr size_t kLargestPrompt = 64 << 10;        // bytes; CLIP looks at 77 words

ImageCheckpoint open_checkpoint(const DiffusionPainter::Models& models) {
  return models.autoencoder ? ImageCheckpoint(models.network.path, models.autoencoder->path)
                            : ImageCheckpoint(models.network.path);
}

// Of what is done once, or looks at a picture before or after the networks that paint.
NetworkType exact_type(const Backend& backend, const DiffusionPainterOptions& options) {
  return exact_network_type(backend, precision_on(backend, options.precision));
}

std::unique_ptr<ImageToImage> load_network(Backend& backend, const DiffusionPainter::Models& models,
                                           const DiffusionPainterOptions& options) {
  const ImageCheckpoint checkpoint = open_checkpoint(models);
  std::optional<ControlNetCheckpoint> control;
  if (models.control) {
    control.emplace(models.control->network.path);
    control->check_fits(checkpoint);
  }
  const NetworkType type = exact_type(backend, options);
  PromptEmbedding negative = options.negative_prompt.empty()
                                 ? embed_no_prompt(backend, checkpoint, type)
                                 : embed_prompt(backend, checkpoint, options.negative_prompt, type);
  PromptEmbedding prompt = embed_prompt(backend, checkpoint, options.prompt, type);
  auto network = std::make_unique<ImageToImage>(backend, checkpoint, precision_on(backend, options.precision),
                                                control ? &*control : nullptr);
  network->set_prompt(std::move(prompt), std::move(negative));
  return network;
}

std::unique_ptr<DepthEstimator> load_depth(Backend& backend, const DiffusionPainter::Models& models,
                                           const DiffusionPainterOptions& options) {
  if (!models.control) return {};
  return std::make_unique<DepthEstimator>(backend, models.control->depth.path, exact_type(backend, options));
}

// What does not belong together is said before gigabytes are read.
const DiffusionPainter::Models& checked(const Backend& backend, const DiffusionPainter::Models& models,
                                        const DiffusionPainterOptions& options) {
  network_type(backend, precision_on(backend, options.precision));  // refuses what the device cannot do
  const bool wanted = options.sampling.control_scale > 0;
  if (wanted && !models.control) throw UsageError("controlnet.scale is above 0, but no ControlNet was given");
  if (!wanted && models.control)
    throw UsageError(
        "controlnet.scale is 0, so that the ControlNet would do nothing: give --preset depth, or set it");
  options.check();
  return models;
}

// Scaled so that the longer side is `size`; bicubic, as published for the variant that does it.
Picture at_size(const Picture& picture, int size) {
  const int longer = std::max(picture.width, picture.height);
  if (size == 0 || size == longer) return picture;
  const auto scaled = [&](int extent) {
    return std::max(static_cast<int>(std::lround(static_cast<double>(extent) * size / longer)), 1);
  };
  return resize_picture(picture, scaled(picture.width), scaled(picture.height), ResizeFilter::bicubic);
}

std::vector<float> unit_values(const Picture& picture) {
  std::vector<float> values(picture.data.size());
  parallel_for(static_cast<int64_t>(values.size()), kPixelGrain, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i)
      values[i] = static_cast<float>(picture.data[i]) / 255;
  });
  return values;
}

uint8_t to_byte(double value) {
  return static_cast<uint8_t>(std::lround(255 * (value > 0 ? std::min(value, 1.0) : 0)));  // NaN becomes 0
}

std::optional<ModelLocation> find_or_none(const std::string& name, const char* usual,
                                          const fs::path& folder) {
  if (name == "none") return {};
  if (name.empty()) return find_model(find_model_entry(usual), folder);
  return require_model(name, folder);
}

}  // namespace

void DiffusionPainterOptions::bind(ConfigSchema& s) {
  s.add("prompt", prompt, "what the pictures show, in English words; default: prompt.txt, else empty");
  s.add("negative_prompt", negative_prompt, "what they must not show (guidance above 1)");
  s.add("diffusion.seed", seed, {0, 1e15}, "random seed of the noise; every view has its own stream");
  s.add("diffusion.rng", rng,
        "random numbers: philox, or PyTorch's: torch-cpu, torch-cuda:GPU (a100, h100, 108x2048, …)");
  s.add("diffusion.precision", precision, network_precision_names(),
        "of the networks; auto: f16 on a GPU, f32 on the processor, where bf16 is that of the weights and "
        "products of UNet and ControlNet, and f16 is refused");
  s.add("diffusion.steps", sampling.steps, {1, 1000}, "denoising steps of the whole way from noise");
  s.add(
      "diffusion.strength", sampling.strength, {0, 1},
      "share of that way: the last ⌊steps · strength⌋ steps are made, at least one; 0: 1/steps + 0.01, which "
      "is one step, as the published refine_step has it");
  s.add("diffusion.guidance", sampling.guidance, {0, 100},
        "classifier-free guidance; up to 1 there is none, as SDXL-Turbo wants it");
  s.add("diffusion.sampler", sampling.sampler,
        {{"euler_ancestral", EulerKind::ancestral}, {"euler", EulerKind::plain}},
        "SDXL-Turbo's, with noise in every step, or SDXL's");
  s.add("diffusion.size", size, {0, 4096},
        "pixels of the pictures' longer side inside the network; 0: as the pictures are");
  s.add("controlnet.scale", sampling.control_scale, {0, 10},
        "how much a ControlNet holds the picture to its depth map; 0: there is none");
}

void DiffusionPainterOptions::check() const {
  ImageEulerSampler::steps_made(sampling.steps, made().strength);
}

ImageToImage::Options DiffusionPainterOptions::made() const {
  ImageToImage::Options options = sampling;
  if (options.strength == 0) options.strength = std::min(1.0 / options.steps + 0.01, 1.0);
  return options;
}

DiffusionPainter::Models DiffusionPainter::find_models(const std::string& network,
                                                       const std::string& autoencoder,
                                                       const std::string& matting, const fs::path& folder) {
  return {require_model(network, folder), find_or_none(autoencoder, "sdxl_vae_fp16_fix", folder),
          find_or_none(matting, "u2net", folder)};
}

PainterIdentity DiffusionPainter::identity_of(const Models& models, const DiffusionPainterOptions& options) {
  std::string weights = model_identity(models.network.path);
  if (models.autoencoder) weights += ", " + model_identity(models.autoencoder->path);
  if (models.matting) weights += ", " + model_identity(models.matting->path);
  if (models.control)
    weights += ", " + model_identity(models.control->network.path) + ", " +
               model_identity(models.control->depth.path);
  return {weights, settings_of(options)};
}

DiffusionPainter::Models::Control DiffusionPainter::find_control(const std::string& network,
                                                                 const std::string& depth,
                                                                 const fs::path& folder) {
  const auto find = [&](const std::string& name, const char* usual, ModelKind kind) {
    return require_model_of_kind(name.empty() ? usual : name, kind, folder);
  };
  return {find(network, "controlnet_depth_sdxl_small", ModelKind::control_net),
          find(depth, "dpt_hybrid_midas", ModelKind::depth)};
}

DiffusionPainter::DiffusionPainter(Backend& backend, const Models& models,
                                   const DiffusionPainterOptions& options)
    : backend_(backend),
      models_(checked(backend, models, options)),
      options_(options),
      depth_(load_depth(backend, models, options)),
      network_(load_network(backend, models, options)) {
  if (models.matting) matting_.emplace(backend, models.matting->path, 0, exact_type(backend, options));
}

ImageToImage& DiffusionPainter::network() {
  if (!network_) network_ = load_network(backend_, models_, options_);
  return *network_;
}

RefinementTrainer::Distiller DiffusionPainter::distiller() {
  return [this](const Tensor& image, const RefinementTrainer::DistillationDraw& draw, const Tensor& d_image) {
    const auto noise = make_normal_stream(options_.rng, draw.noise_seed);
    network().distill(image, {draw.share, draw.guidance, draw.weight, draw.sum}, *noise, d_image);
  };
}

void DiffusionPainter::release() {
  network_.reset();
  depth_.reset();
}

// The depth map in three equal channels; empty without a ControlNet.
std::vector<float> DiffusionPainter::hint(const Picture& picture) {
  if (!models_.control) return {};
  if (!depth_) depth_ = load_depth(backend_, models_, options_);
  std::vector<float> colors;
  for (const float value : depth_->depth_map(picture, picture.width, picture.height))
    colors.insert(colors.end(), 3, value);
  return colors;
}

Picture DiffusionPainter::paint(const Picture& reference, size_t view, Background background) {
  const Picture input = at_size(reference, options_.size);
  const auto noise = make_normal_stream(options_.rng, options_.seed + view);
  const std::vector<float> values =
      network().refine(unit_values(input), input.height, input.width, options_.made(), *noise, hint(input));
  Picture picture(input.width, input.height, 3);
  parallel_for(static_cast<int64_t>(values.size()), kPixelGrain, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i)
      picture.data[i] = to_byte(values[i]);
  });
  if (picture.width != reference.width || picture.height != reference.height)
    picture = resize_picture(picture, reference.width, reference.height, ResizeFilter::bicubic);
  if (!matting_) return picture;
  const Picture matte = matting_->matte(picture);
  const double empty = background == Background::white ? 255 : 0;
  parallel_for(static_cast<int64_t>(picture.data.size()), kPixelGrain, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      const double alpha = matte.data[i / 3] / 255.0;
      picture.data[i] = to_byte((alpha * picture.data[i] + (1 - alpha) * empty) / 255);
    }
  });
  return picture;
}

std::string prompt_file_text(const fs::path& run, const fs::path& dataset) {
  for (const fs::path& folder : {run, dataset}) {
    if (folder.empty() || !fs::is_regular_file(folder / "prompt.txt")) continue;
    const fs::path path = folder / "prompt.txt";
    std::ifstream file(path, std::ios::binary);
    std::string text(kLargestPrompt + 1, 0);
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(file.gcount()));
    if (text.size() > kLargestPrompt)
      throw Error(fmt::format("{} is too long for a prompt: at most {} bytes are read", path.string(),
                              kLargestPrompt));
    const char* blank = " \t\r\n";
    text.erase(0, std::min(text.find_first_not_of(blank), text.size()));
    text.erase(text.find_last_not_of(blank) + 1);
    return text;
  }
  return {};
}

}  // namespace eg4d
