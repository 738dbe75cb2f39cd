#include "picture/input_picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "picture/picture_resize.h"

namespace eg4d {
namespace {

constexpr int kMultiple = 64;  // three halvings in the VAE, three in the UNet
constexpr int kLargestFitted = 768;

Picture on_white(const Picture& picture) {
  return compose_on_background(picture, 255);
}

bool has_alpha(const Picture& picture) {
  return picture.channels == 2 || picture.channels == 4;
}

void require_alpha(const Picture& picture) {
  if (picture.channels != 4)
    throw Error("only a picture with an alpha channel can be recentred: remove its background");
}

// As the published script does it in double precision, truncated at the end.
Picture truncated_on_white(const Picture& rgba) {
  Picture rgb(rgba.width, rgba.height, 3);
  for (size_t pixel = 0; pixel < rgba.data.size() / 4; ++pixel) {
    const double alpha = rgba.data[pixel * 4 + 3] / 255.0;
    for (size_t c = 0; c < 3; ++c) {
      const double value = rgba.data[pixel * 4 + c] / 255.0 * alpha + (1 - alpha);
      rgb.data[pixel * 3 + c] = static_cast<uint8_t>(value * 255);
    }
  }
  return rgb;
}

// The part of `rgba` in `box`, centred in a transparent square; what does not fit is cut off.
Picture centred_square(const Picture& rgba, const PictureBox& box, int side) {
  Picture square(side, side, 4);
  const int width = box.right - box.left, height = box.bottom - box.top;
  const int offset_x = side / 2 - width / 2 - box.left, offset_y = side / 2 - height / 2 - box.top;
  for (int y = std::max(box.top, -offset_y); y < std::min(box.bottom, side - offset_y); ++y) {
    const int first = std::max(box.left, -offset_x), last = std::min(box.right, side - offset_x);
    if (first >= last) continue;
    std::copy_n(&rgba.data[(size_t(y) * rgba.width + first) * 4], size_t(last - first) * 4,
                &square.data[(size_t(y + offset_y) * side + first + offset_x) * 4]);
  }
  return square;
}

InputPicture squeezed(const Picture& rgb, int side) {
  InputPicture input{resize_picture(rgb, side, side, ResizeFilter::lanczos), {}};
  if (rgb.width != rgb.height)
    input.warning = fmt::format(
        "the picture of {}×{} pixels is not square: it was squeezed to {}×{}; put it on a square to keep its "
        "proportions",
        rgb.width, rgb.height, side, side);
  return input;
}

}  // namespace

InputPicture animation_input(const Picture& picture, int square_side) {
  Picture rgb = on_white(picture);
  if (square_side > 0) return squeezed(rgb, square_side);
  const int width = rgb.width - rgb.width % kMultiple, height = rgb.height - rgb.height % kMultiple;
  if (width == 0 || height == 0)
    throw Error(fmt::format(
        "the picture has {}×{} pixels: a video needs at least {} on each side; enlarge it or let it "
        "be resized to {}×{}",
        rgb.width, rgb.height, kMultiple, kSquareSide, kSquareSide));
  if (width == rgb.width && height == rgb.height) return {std::move(rgb), {}};
  return {resize_picture(rgb, width, height, ResizeFilter::bicubic),
          fmt::format("the picture's {}×{} pixels are no multiples of {}: it was resized to {}×{}", rgb.width,
                      rgb.height, kMultiple, width, height)};
}

Picture fitted_for_cutting(const Picture& picture) {
  return thumbnail(picture, kLargestFitted, kLargestFitted);
}

InputPicture multiview_input(const Picture& picture, int side) {
  return squeezed(on_white(has_alpha(picture) ? picture : fitted_for_cutting(picture)), side);
}

PictureBox united(const PictureBox& a, const PictureBox& b) {
  return {std::min(a.left, b.left), std::min(a.top, b.top), std::max(a.right, b.right),
          std::max(a.bottom, b.bottom)};
}

std::optional<PictureBox> visible_box(const Picture& rgba) {
  require_alpha(rgba);
  std::optional<PictureBox> box;
  for (int y = 0; y < rgba.height; ++y) {
    for (int x = 0; x < rgba.width; ++x) {
      if (rgba.data[(size_t(y) * rgba.width + x) * 4 + 3] == 0) continue;
      const PictureBox pixel{x, y, x + 1, y + 1};
      box = box ? united(*box, pixel) : pixel;
    }
  }
  return box;
}

Picture recentred_input(const Picture& rgba, const PictureBox& box, std::optional<double> image_frame_ratio,
                        int side) {
  require_alpha(rgba);
  if (image_frame_ratio && !(*image_frame_ratio > 0 && *image_frame_ratio <= 1))
    throw UsageError(
        fmt::format("image_frame_ratio {}: it must be above 0 and at most 1", *image_frame_ratio));
  const int larger = std::max(box.right - box.left, box.bottom - box.top);
  const double exact = image_frame_ratio ? larger / *image_frame_ratio : std::max(rgba.height, larger);
  constexpr int largest = 1 << 14;
  if (exact > largest)
    throw UsageError(fmt::format("image_frame_ratio {} asks for a square of {:.0f} pixels, more than {}",
                                 image_frame_ratio.value_or(1), exact, largest));
  const Picture square = centred_square(rgba, box, static_cast<int>(exact));
  return truncated_on_white(resize_picture(square, side, side, ResizeFilter::lanczos));
}

std::vector<float> to_model_range(const Picture& rgb) {
  std::vector<float> values(rgb.data.size());
  std::transform(rgb.data.begin(), rgb.data.end(), values.begin(),
                 [](uint8_t byte) { return static_cast<float>(byte) / 255 * 2 - 1; });
  return values;
}

Picture from_model_range(std::span<const float> values, int width, int height, ByteRounding rounding) {
  Picture picture(width, height, 3);
  if (values.size() != picture.data.size())
    throw Error(fmt::format("{} numbers are no picture of {}×{}", values.size(), width, height));
  std::transform(values.begin(), values.end(), picture.data.begin(), [rounding](float value) {
    const float unit = (value + 1) / 2;
    const float scaled = (unit > 0 ? std::min(unit, 1.f) : 0) * 255;  // NaN becomes 0
    return static_cast<uint8_t>(rounding == ByteRounding::nearest ? std::lround(scaled)
                                                                  : static_cast<long>(scaled));
  });
  return picture;
}

}  // namespace eg4d
