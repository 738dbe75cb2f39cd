#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "vision/clip_similarity.h"
#include "vision/lpips.h"

namespace eg4d {

// Whether find_lpips would find its files, which are not opened.
bool has_lpips(Lpips::Network network, const std::filesystem::path& models_folder);
// LPIPS with the weights of the catalogue (alexnet and lpips_alex, or vgg16 and lpips_vgg), or nothing when a
// file of them is not here; `missing` then gets a sentence that says which and how to get it. type: as Lpips
// takes it.
std::unique_ptr<Lpips> find_lpips(Backend& backend, Lpips::Network network,
                                  const std::filesystem::path& models_folder, std::string& missing,
                                  const NetworkType& type = {});
// Throws Error with that sentence.
std::unique_ptr<Lpips> require_lpips(Backend& backend, Lpips::Network network,
                                     const std::filesystem::path& models_folder,
                                     const NetworkType& type = {});

// Figures of pictures beside their truth that take a network: LPIPS (AlexNet, VGG16) and CLIP-I, each when
// its weights are here.
class PerceptualFigures {
 public:
  struct Figure {
    std::string key;    // in JSON: "lpips_alex"
    std::string title;  // "LPIPS alex"
    bool more_is_better = false;
    std::vector<double> values;  // by picture
    double mean() const;
  };

  PerceptualFigures(Backend& backend, const std::filesystem::path& models_folder, size_t pictures);
  // One sentence for each figure that is left out: which file it wants, or that pictures are too small for
  // it.
  const std::vector<std::string>& left_out() const { return left_out_; }

  // image, truth: [H,W,3] in [0,1].
  void measure(size_t picture, const Tensor& image, const Tensor& truth);
  const std::vector<Figure>& figures() const { return figures_; }

 private:
  std::vector<std::unique_ptr<Lpips>> lpips_;
  std::unique_ptr<ClipSimilarity> clip_;
  std::vector<Figure> figures_;  // of lpips_, then of clip_
  std::vector<std::string> left_out_;
};

}  // namespace eg4d
