#include "pipeline/temporal_figures.h"

#include <algorithm>
#include <cmath>

#include "vision/clip_similarity.h"

namespace eg4d {
namespace {

double mean_change(const Picture& a, const Picture& b) {
  uint64_t sum = 0;
  for (size_t i = 0; i < a.data.size(); ++i)
    sum += static_cast<uint64_t>(std::abs(int{a.data[i]} - int{b.data[i]}));
  return static_cast<double>(sum) / 255 / static_cast<double>(a.data.size());
}

double mean_acceleration(const Picture& a, const Picture& b, const Picture& c) {
  uint64_t sum = 0;
  for (size_t i = 0; i < a.data.size(); ++i)
    sum += static_cast<uint64_t>(std::abs(int{a.data[i]} - 2 * int{b.data[i]} + int{c.data[i]}));
  return static_cast<double>(sum) / 255 / static_cast<double>(a.data.size());
}

bool same_size(const Picture& a, const Picture& b) {
  return a.width == b.width && a.height == b.height;
}

}  // namespace

void TemporalFigures::add(Side& side, const Picture& picture, const std::vector<float>& embedding,
                          Sums& sums) {
  if (same_size(side.last, picture)) {
    sums.flicker += mean_change(side.last, picture);
    ++pairs_;
    if (same_size(side.before, picture)) {
      sums.acceleration += mean_acceleration(side.before, side.last, picture);
      ++triples_;
    }
    if (!embedding.empty()) {
      sums.clip += cosine(side.embedding, embedding);
      ++embedded_pairs_;
    }
  }
  side.before = std::move(side.last);
  side.last = picture;
  side.embedding = embedding;
}

void TemporalFigures::add(const Camera& camera, const Picture& render, const Picture& truth,
                          const std::vector<float>& render_embedding,
                          const std::vector<float>& truth_embedding) {
  std::array<float, 16> pose;
  std::copy_n(camera.world_to_view, 16, pose.begin());
  auto& sides = cameras_[pose];
  add(sides[0], render, render_embedding, sums_[0]);
  add(sides[1], truth, truth_embedding, sums_[1]);
}

std::vector<TemporalFigures::Figure> TemporalFigures::figures() const {
  std::vector<Figure> result;
  const auto take = [&](const char* key, const char* title, double Sums::*sum, int64_t both) {
    if (both == 0) return;
    const int64_t count = both / 2;
    const auto mean = [&](const Sums& sums) { return sums.*sum / static_cast<double>(count); };
    result.push_back({key, title, mean(sums_[0]), mean(sums_[1]), count});
  };
  take("flicker", "flicker", &Sums::flicker, pairs_);
  take("acceleration", "acceleration", &Sums::acceleration, triples_);
  take("clip_t", "CLIP-T", &Sums::clip, embedded_pairs_);
  return result;
}

}  // namespace eg4d
