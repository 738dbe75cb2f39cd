#include "pipeline/perceptual.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "models/model_store.h"
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

PerceptualFigures::PerceptualFigures(Backend& backend, const fs::path& models_folder, size_t pictures) {
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
  if (clip_)
    figures_.back().values[picture] =
        cosine(clip_->embed(to_picture(image)), clip_->embed(to_picture(truth)));
}

}  // namespace eg4d
