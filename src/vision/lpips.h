#pragma once

#include <memory>
#include <vector>

#include "nn/session.h"
#include "nn/weights.h"

namespace eg4d {

// LPIPS, a distance between pictures as people see them (Zhang et al., "The unreasonable effectiveness of
// deep features as a perceptual metric", 2018; version 0.1 of the published weights): the features of a
// network that classifies pictures, compared at five depths.
class Lpips {
 public:
  enum class Network { alex, vgg };

  // backbone: torchvision's AlexNet or VGG16 ("features.N.weight", "features.N.bias"; its classifier is not
  // used), told apart by the first kernel; smaller ones of the same form are taken too. heads: the published
  // linear layers ("lin0.model.1.weight" … "lin4.model.1.weight"). Throws Error when they do not fit. The
  // backend must outlive it. type: of the products; activations and weights are f32.
  Lpips(Backend& backend, const WeightMap& backbone, const WeightMap& heads, const NetworkType& type = {});
  ~Lpips();
  static void check_backbone(const WeightMap& backbone);
  static void check_heads(const WeightMap& heads);

  Network network() const;
  // Pictures must be at least this high and wide: 31 pixels for AlexNet, 16 for VGG16.
  int64_t smallest_side() const;

  // pictures, targets: [N,H,W,3] with values in [0,1], taken as they are (the published training does not map
  // them to [-1,1]; nor does this). values: device f64 [N], the distances are ADDED. With `d_pictures` (like
  // pictures), weight · the gradient of the distances' sum is ADDED to it. Throws Error for pictures that are
  // too small.
  void measure(const Tensor& pictures, const Tensor& targets, const Tensor& values, float weight = 0,
               const Tensor& d_pictures = {});
  // The same with working memory of the caller's: after plan() for pictures of this shape nothing is
  // allocated, so that it may be recorded. The arena must outlive what is recorded, and must not be planned
  // for larger pictures meanwhile.
  void plan(Arena& arena, const Shape& pictures, bool with_gradient) const;
  void measure(Arena& arena, const Tensor& pictures, const Tensor& targets, const Tensor& values,
               float weight = 0, const Tensor& d_pictures = {}) const;
  // The distances of N pictures; waits for them.
  std::vector<double> distances(const Tensor& pictures, const Tensor& targets);

 private:
  struct Layers;
  struct State;
  static Layers build(class Loader& loader, Network network);
  static std::vector<Tensor> build_heads(class Loader& loader);
  std::unique_ptr<State> state_;
};

const char* name_of(Lpips::Network network);  // "alex", "vgg"

}  // namespace eg4d
