#include "vision/matting.h"

#include <algorithm>
#include <cmath>

#include "picture/picture_resize.h"

namespace eg4d {
namespace {

constexpr int kU2NetSide = 320, kIsnetSide = 1024;

Picture without_alpha(const Picture& picture) {
  if (picture.channels == 3) return picture;
  if (picture.channels < 3) return compose_on_background(picture, 0);
  Picture rgb(picture.width, picture.height, 3);
  for (size_t i = 0; i < rgb.data.size(); ++i) rgb.data[i] = picture.data[i / 3 * 4 + i % 3];
  return rgb;
}

// Sigmoid, stretched to [0,1].
Picture to_matte(const std::vector<float>& logits, int side) {
  std::vector<float> values;
  for (const float logit : logits) values.push_back(1 / (1 + std::exp(-logit)));
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const float least = *low, range = *high - *low;
  Picture matte(side, side, 1);
  for (size_t i = 0; i < values.size(); ++i) {
    const float share = range > 0 ? (values[i] - least) / range : 0;
    matte.data[i] = static_cast<uint8_t>(share > 0 ? std::min(share, 1.0f) * 255 : 0);  // NaN becomes 0
  }
  return matte;
}

}  // namespace

std::vector<float> matting_input(const Picture& rgb, U2Net::Kind kind) {
  constexpr float kMean[] = {0.485f, 0.456f, 0.406f}, kDeviation[] = {0.229f, 0.224f, 0.225f};
  const uint8_t largest = rgb.data.empty() ? 0 : *std::max_element(rgb.data.begin(), rgb.data.end());
  const float scale = 1 / std::max(static_cast<float>(largest), 1e-6f);
  std::vector<float> values(rgb.data.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const float unit = static_cast<float>(rgb.data[i]) * scale;
    values[i] = kind == U2Net::Kind::isnet ? unit - 0.5f : (unit - kMean[i % 3]) / kDeviation[i % 3];
  }
  return values;
}

Matting::Matting(Backend& backend, const std::filesystem::path& weights, int side, const NetworkType& type)
    : network_(backend, read_u2net_weights(weights), type), side_(side) {
  if (side_ == 0) side_ = network_.kind() == U2Net::Kind::isnet ? kIsnetSide : kU2NetSide;
}

Picture Matting::matte(const Picture& picture) {
  const Picture small = resize_picture(without_alpha(picture), side_, side_, ResizeFilter::lanczos);
  if (!call_) call_ = network_.prepare({1, side_, side_, 3});
  const Picture matte = to_matte(call_->apply(matting_input(small, network_.kind())), side_);
  return resize_picture(matte, picture.width, picture.height, ResizeFilter::lanczos);
}

}  // namespace eg4d
