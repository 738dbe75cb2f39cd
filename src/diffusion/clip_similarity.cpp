#include "diffusion/clip_similarity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "scene/picture_resize.h"

namespace eg4d {
namespace {

// "" for Hugging Face's names.
std::string prefix_of(const WeightMap& weights) {
  if (weights.contains("vision_model.embeddings.class_embedding")) return "";
  for (const char* prefix : {"conditioner.embedders.0.open_clip.model.visual.", "visual."})
    if (weights.contains(std::string(prefix) + "class_embedding")) return prefix;
  throw Error(fmt::format("'{}' holds no image tower of CLIP (vision_model.embeddings.class_embedding)",
                          weights.path().string()));
}

Picture middle_square(const Picture& picture, int side) {
  Picture square(side, side, picture.channels);
  const int left = (picture.width - side) / 2, top = (picture.height - side) / 2;
  const auto row = static_cast<size_t>(side * picture.channels);
  for (int y = 0; y < side; ++y)
    std::copy_n(&picture.data[static_cast<size_t>(((top + y) * picture.width + left) * picture.channels)],
                row, &square.data[static_cast<size_t>(y) * row]);
  return square;
}

Picture prepared(const Picture& picture, int side) {
  const Picture rgb = compose_on_background(picture, 255);
  const auto scaled = [&](int extent) {
    const int shorter = std::min(rgb.width, rgb.height);
    return static_cast<int>(static_cast<int64_t>(extent) * side / shorter);
  };
  constexpr int kLongestSides = 64;  // side by side: beyond it, what lies outside the middle is cut off first
  if (std::max(rgb.width, rgb.height) > kLongestSides * std::min(rgb.width, rgb.height))
    return resize_picture(middle_square(rgb, std::min(rgb.width, rgb.height)), side, side,
                          ResizeFilter::bicubic);
  return middle_square(resize_picture(rgb, scaled(rgb.width), scaled(rgb.height), ResizeFilter::bicubic),
                       side);
}

}  // namespace

WeightMap ClipSimilarity::checked(const WeightMap& weights) {
  const std::string prefix = prefix_of(weights);
  WeightMap tower = weights.below(prefix.empty() ? "vision_model." : prefix);
  if (prefix.empty()) {
    tower.add(weights.below("visual_projection."));
    tower.remove("vision_model.embeddings.position_ids");
  }
  ClipImageEncoder::check(tower, prefix);
  return tower;
}

ClipSimilarity::ClipSimilarity(Backend& backend, const WeightMap& weights)
    : encoder_(backend, checked(weights), prefix_of(weights), {}) {}

std::vector<float> ClipSimilarity::embed(const Picture& picture) {
  const auto side = static_cast<int>(encoder_.picture_size());
  const Picture square = prepared(picture, side);
  std::vector<float> values;
  for (size_t i = 0; i < square.data.size(); ++i)
    values.push_back((static_cast<float>(square.data[i]) / 255 - kClipMean[i % 3]) / kClipDeviation[i % 3]);
  if (!call_) call_ = encoder_.prepare(1);
  return call_->apply(values);
}

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double product = 0, a_square = 0, b_square = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    product += double{a[i]} * b[i];
    a_square += double{a[i]} * a[i];
    b_square += double{b[i]} * b[i];
  }
  const double lengths = std::sqrt(a_square) * std::sqrt(b_square);
  return lengths > 0 ? product / lengths : 0;
}

}  // namespace eg4d
