#include "pipeline/perceptual.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "io/image.h"
#include "models/model_store.h"
#include "picture/ms_ssim.h"
#include "pipeline/pictures.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

struct Files {
  const char *backbone, *heads;
};
Files files_of(Lpips::Network network) {
  if (network == Lpips::Network::alex) return {"alexnet", "lpips_alex"};
  return {"vgg16", "lpips_vgg"};
}

// Backbone and heads; empty when one is missing.
std::vector<fs::path> locate_files(Lpips::Network network, const fs::path& models_folder,
                                   std::string& missing) {
  const Files names = files_of(network);
  std::vector<fs::path> files;
  for (const char* name : {names.backbone, names.heads}) {
    const auto location = find_model(find_model_entry(name), models_folder);
    if (!location) {
      missing = how_to_get(find_model_entry(name));
      return {};
    }
    files.push_back(location->path);
  }
  return files;
}

std::unique_ptr<ClipSimilarity> find_clip(Backend& backend, const fs::path& models_folder,
                                          std::string& missing) {
  for (const char* name : {"clip_vit_l_14", "clip_vit_b_32"})
    if (const auto location = find_model(find_model_entry(name), models_folder))
      return std::make_unique<ClipSimilarity>(backend, read_weights(location->path));
  missing = how_to_get(find_model_entry("clip_vit_l_14"));
  return nullptr;
}

Tensor as_batch(const Tensor& image) {
  return image.reshaped({1, image.dim(0), image.dim(1), image.dim(2)});
}

}  // namespace

bool has_lpips(Lpips::Network network, const fs::path& models_folder) {
  std::string missing;
  return !locate_files(network, models_folder, missing).empty();
}

std::unique_ptr<Lpips> find_lpips(Backend& backend, Lpips::Network network, const fs::path& models_folder,
                                  std::string& missing, const NetworkType& type) {
  const std::vector<fs::path> files = locate_files(network, models_folder, missing);
  if (files.empty()) return nullptr;
  return std::make_unique<Lpips>(backend, read_weights(files[0]), read_weights(files[1]), type);
}

std::unique_ptr<Lpips> require_lpips(Backend& backend, Lpips::Network network, const fs::path& models_folder,
                                     const NetworkType& type) {
  std::string missing;
  auto lpips = find_lpips(backend, network, models_folder, missing, type);
  if (!lpips) throw Error(missing);
  return lpips;
}

double PerceptualFigures::Figure::mean() const {
  return values.empty()
             ? 0
             : std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

PerceptualFigures::PerceptualFigures(Backend& backend, const fs::path& models_folder, size_t pictures,
                                     const FurtherFigures& further) {
  for (const Lpips::Network network : {Lpips::Network::alex, Lpips::Network::vgg}) {
    const std::string title = fmt::format("LPIPS {}", name_of(network));
    std::string missing;
    auto lpips = find_lpips(backend, network, models_folder, missing);
    if (!lpips) {
      left_out_.push_back(fmt::format("{} is left out: {}", title, missing));
      continue;
    }
    lpips_.push_back(std::move(lpips));
    figures_.push_back(
        {fmt::format("lpips_{}", name_of(network)), title, false, std::vector<double>(pictures)});
  }
  std::string missing;
  clip_ = find_clip(backend, models_folder, missing);
  if (clip_)
    figures_.push_back({"clip_i", "CLIP-I", true, std::vector<double>(pictures)});
  else
    left_out_.push_back(fmt::format("CLIP-I is left out: {}", missing));
  if (!further.reference.empty()) {
    if (!clip_) throw Error(fmt::format("CLIP-S cannot be measured: {}", missing));
    reference_ = clip_->embed(read_picture(further.reference));
    figures_.push_back({"clip_s", "CLIP-S", true, std::vector<double>(pictures)});
  }
  if (further.all) {
    figures_.push_back({"ms_ssim", "MS-SSIM", true, std::vector<double>(pictures)});
    figures_.push_back({"d_ssim", "D-SSIM", false, std::vector<double>(pictures)});
  }
}

PerceptualFigures::Figure* PerceptualFigures::figure(const std::string& key) {
  const auto found =
      std::find_if(figures_.begin(), figures_.end(), [&](const Figure& one) { return one.key == key; });
  return found == figures_.end() ? nullptr : &*found;
}

void PerceptualFigures::measure(size_t picture, const Tensor& image, const Tensor& truth) {
  for (size_t i = 0; i < lpips_.size();) {
    const int64_t side = std::min(image.dim(0), image.dim(1));
    if (side >= lpips_[i]->smallest_side()) {
      figures_[i].values[picture] = lpips_[i]->distances(as_batch(image), as_batch(truth))[0];
      ++i;
      continue;
    }
    left_out_.push_back(fmt::format("{} is left out: it needs pictures of at least {} pixels a side",
                                    figures_[i].title, lpips_[i]->smallest_side()));
    lpips_.erase(lpips_.begin() + static_cast<ptrdiff_t>(i));
    figures_.erase(figures_.begin() + static_cast<ptrdiff_t>(i));
  }
  if (clip_) measure_clip(picture, image, truth);
  if (figure("ms_ssim")) measure_ms_ssim(picture, image, truth);
}

void PerceptualFigures::measure_clip(size_t picture, const Tensor& image, const Tensor& truth) {
  embedding_ = clip_->embed(to_picture(image));
  truth_embedding_ = clip_->embed(to_picture(truth));
  figure("clip_i")->values[picture] = cosine(embedding_, truth_embedding_);
  if (Figure* clip_s = figure("clip_s")) clip_s->values[picture] = cosine(embedding_, reference_);
}

void PerceptualFigures::measure_ms_ssim(size_t picture, const Tensor& image, const Tensor& truth) {
  if (std::min(image.dim(0), image.dim(1)) <= kMsSsimSide) {
    left_out_.push_back(fmt::format(
        "MS-SSIM and D-SSIM are left out: they need pictures of more than {} pixels a side", kMsSsimSide));
    std::erase_if(figures_, [](const Figure& one) { return one.key == "ms_ssim" || one.key == "d_ssim"; });
    return;
  }
  const double similarity = ms_ssim(to_picture(image), to_picture(truth));
  figure("ms_ssim")->values[picture] = similarity;
  figure("d_ssim")->values[picture] = (1 - similarity) / 2;
}

}  // namespace eg4d
