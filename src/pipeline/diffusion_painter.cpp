#include "pipeline/diffusion_painter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "core/config.h"
#include "core/error.h"
#include "pipeline/stage_folder.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLargestPrompt = 64 << 10;  // bytes; CLIP looks at 77 words

ImageCheckpoint open_checkpoint(const DiffusionPainter::Models& models) {
  return models.autoencoder ? ImageCheckpoint(models.network.path, models.autoencoder->path)
                            : ImageCheckpoint(models.network.path);
}

std::unique_ptr<ImageToImage> load_network(Backend& backend, const DiffusionPainter::Models& models,
                                           const DiffusionPainterOptions& options) {
  const ImageCheckpoint checkpoint = open_checkpoint(models);
  PromptEmbedding negative = options.negative_prompt.empty()
                                 ? embed_no_prompt(backend, checkpoint)
                                 : embed_prompt(backend, checkpoint, options.negative_prompt);
  PromptEmbedding prompt = embed_prompt(backend, checkpoint, options.prompt);
  auto network = std::make_unique<ImageToImage>(backend, checkpoint, options.precision);
  network->set_prompt(std::move(prompt), std::move(negative));
  return network;
}

uint8_t to_byte(double value) {
  return static_cast<uint8_t>(std::lround(255 * std::clamp(value, 0.0, 1.0)));
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
  s.add("diffusion.precision", precision, {{"f32", Precision::f32}, {"bf16", Precision::bf16}},
        "of the networks' weights and products");
  s.add("diffusion.steps", sampling.steps, {1, 1000}, "denoising steps of the whole way from noise");
  s.add("diffusion.strength", sampling.strength, {0, 1},
        "share of that way: the last ⌊steps · strength⌋ steps are made, at least one");
  s.add("diffusion.guidance", sampling.guidance, {0, 100},
        "classifier-free guidance; up to 1 there is none, as SDXL-Turbo wants it");
}

DiffusionPainter::Models DiffusionPainter::find_models(const std::string& network,
                                                       const std::string& autoencoder,
                                                       const std::string& matting, const fs::path& folder) {
  return {require_model(network, folder), find_or_none(autoencoder, "sdxl_vae_fp16_fix", folder),
          find_or_none(matting, "u2net", folder)};
}

std::string DiffusionPainter::identity_of(const Models& models, DiffusionPainterOptions options) {
  ConfigSchema schema;
  options.bind(schema);
  std::string identity = model_identity(models.network.path);
  if (models.autoencoder) identity += ", " + model_identity(models.autoencoder->path);
  if (models.matting) identity += ", " + model_identity(models.matting->path);
  return identity + ", " + schema.to_json();
}

DiffusionPainter::DiffusionPainter(Backend& backend, const Models& models,
                                   const DiffusionPainterOptions& options)
    : backend_(backend),
      models_(models),
      options_(options),
      identity_(identity_of(models, options)),
      network_(load_network(backend, models, options)) {
  if (models.matting) matting_.emplace(backend, models.matting->path);
}

ImageToImage& DiffusionPainter::network() {
  if (!network_) network_ = load_network(backend_, models_, options_);
  return *network_;
}

RefinementTrainer::Distiller DiffusionPainter::distiller() {
  return [this](const Tensor& image, const RefinementTrainer::DistillationDraw& draw, const Tensor& d_image) {
    const auto noise = make_normal_stream(options_.rng, draw.noise_seed);
    network().distill(image, {draw.share, draw.guidance, draw.weight}, *noise, d_image);
  };
}

Picture DiffusionPainter::paint(const Picture& reference, size_t view, Background background) {
  std::vector<float> values(reference.data.size());
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(reference.data[i]) / 255;
  const auto noise = make_normal_stream(options_.rng, options_.seed + view);
  values = network().refine(values, reference.height, reference.width, options_.sampling, *noise);
  Picture picture(reference.width, reference.height, 3);
  for (size_t i = 0; i < values.size(); ++i) picture.data[i] = to_byte(values[i]);
  if (!matting_) return picture;
  const Picture matte = matting_->matte(picture);
  const double empty = background == Background::white ? 255 : 0;
  for (size_t i = 0; i < picture.data.size(); ++i) {
    const double alpha = matte.data[i / 3] / 255.0;
    picture.data[i] = to_byte((alpha * picture.data[i] + (1 - alpha) * empty) / 255);
  }
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
