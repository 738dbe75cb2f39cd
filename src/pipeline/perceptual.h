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

// Figures beyond the usual ones.
struct FurtherFigures {
  bool all = false;                 // MS-SSIM and D-SSIM, of pictures that are large enough
  std::filesystem::path reference;  // a picture, for CLIP-S; empty: none
};

// Figures of pictures beside their truth that take a network: LPIPS (AlexNet, VGG16) and CLIP-I, each when
// its weights are here; and further ones.
class PerceptualFigures {
 public:
  struct Figure {
    std::string key;    // in JSON: "lpips_alex"
    std::string title;  // "LPIPS alex"
    bool more_is_better = false;
    std::vector<double> values;  // by picture
    double mean() const;
  };

  // Throws Error for a reference that cannot be read, or that there is no CLIP for.
  PerceptualFigures(Backend& backend, const std::filesystem::path& models_folder, size_t pictures,
                    const FurtherFigures& further = {});
  // One sentence for each figure that is left out: which file it wants, or that pictures are too small for
  // it.
  const std::vector<std::string>& left_out() const { return left_out_; }

  // image, truth: [H,W,3] in [0,1].
  void measure(size_t picture, const Tensor& image, const Tensor& truth);
  const std::vector<Figure>& figures() const { return figures_; }
  // CLIP's, of the picture that was measured last and of its truth; empty where there is no CLIP.
  const std::vector<float>& embedding() const { return embedding_; }
  const std::vector<float>& truth_embedding() const { return truth_embedding_; }

 private:
  Figure* figure(const std::string& key);  // null when it is not measured
  void measure_clip(size_t picture, const Tensor& image, const Tensor& truth);
  void measure_ms_ssim(size_t picture, const Tensor& image, const Tensor& truth);

  std::vector<std::unique_ptr<Lpips>> lpips_;
  std::unique_ptr<ClipSimilarity> clip_;
  std::vector<float> embedding_, truth_embedding_, reference_;
  std::vector<Figure> figures_;  // of lpips_, then the others
  std::vector<std::string> left_out_;
};

}  // namespace eg4d
