#include "io/image.h"

#include <fmt/format.h>

#include <cstring>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/image_codecs.h"

namespace eg4d {
namespace {

enum class Format { png, jpeg, webp };

bool has(Bytes file, size_t offset, std::string_view text) {
  return file.size() >= offset + text.size() &&
         std::memcmp(file.data() + offset, text.data(), text.size()) == 0;
}

Format recognise(Bytes file, const std::string& name) {
  if (file.empty()) throw Error(fmt::format("cannot read '{}': the file is empty", name));
  if (has(file, 0, "\x89PNG\r\n\x1a\n")) return Format::png;
  if (has(file, 0, "\xff\xd8\xff")) return Format::jpeg;
  if (has(file, 0, "RIFF") && has(file, 8, "WEBP")) return Format::webp;
  throw Error(fmt::format("'{}' is not a PNG, JPEG or WebP picture; convert it to PNG first", name));
}

void check_complete(const Picture& picture, const std::filesystem::path& path) {
  const bool sized =
      picture.width > 0 && picture.height > 0 && picture.channels >= 1 && picture.channels <= 4;
  if (!sized || picture.data.size() != static_cast<size_t>(picture.width) * picture.height * picture.channels)
    throw Error(
        fmt::format("cannot write '{}': a picture of {}x{} pixels and {} channels with {} bytes is not valid",
                    path.string(), picture.width, picture.height, picture.channels, picture.data.size()));
}

void write_bytes(const std::filesystem::path& path, const std::vector<uint8_t>& bytes) {
  write_file_atomically(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

}  // namespace

Picture::Picture(int width, int height, int channels)
    : width(width),
      height(height),
      channels(channels),
      data(static_cast<size_t>(width) * height * channels) {}

Picture decode_picture(Bytes file, const std::string& name, const PictureLimits& limits) {
  switch (recognise(file, name)) {
    case Format::png:
      return codecs::decode_png(file, name, limits);
    case Format::jpeg:
      return codecs::decode_jpeg(file, name, limits);
    case Format::webp:
      return codecs::decode_webp(file, name, limits);
  }
  return {};
}

PictureSize decode_picture_size(Bytes file, const std::string& name, const PictureLimits& limits) {
  switch (recognise(file, name)) {
    case Format::png:
      return codecs::png_size(file, name, limits);
    case Format::jpeg:
      return codecs::jpeg_size(file, name, limits);
    case Format::webp:
      return codecs::webp_size(file, name, limits);
  }
  return {};
}

Picture read_picture(const std::filesystem::path& path, const PictureLimits& limits) {
  const MappedFile file(path);
  return decode_picture(file.bytes(), path.string(), limits);
}

PictureSize picture_size(const std::filesystem::path& path, const PictureLimits& limits) {
  const MappedFile file(path);
  return decode_picture_size(file.bytes(), path.string(), limits);
}

void write_png(const std::filesystem::path& path, const Picture& picture) {
  check_complete(picture, path);
  write_bytes(path, encode_png(picture));
}

void write_jpeg(const std::filesystem::path& path, const Picture& picture, int quality) {
  check_complete(picture, path);
  if (picture.channels % 2 == 0)
    throw Error(
        fmt::format("cannot write '{}': JPEG has no alpha channel; write PNG or WebP", path.string()));
  write_bytes(path, codecs::encode_jpeg(picture, quality));
}

void write_webp(const std::filesystem::path& path, const Picture& picture, float quality) {
  check_complete(picture, path);
  write_bytes(path, codecs::encode_webp(picture, quality, false));
}

void write_webp_lossless(const std::filesystem::path& path, const Picture& picture) {
  check_complete(picture, path);
  write_bytes(path, codecs::encode_webp(picture, 100, true));
}

Picture compose_on_background(const Picture& picture, uint8_t background) {
  Picture rgb(picture.width, picture.height, 3);
  const int channels = picture.channels;
  const bool has_alpha = channels == 2 || channels == 4;
  const bool has_colour = channels >= 3;
  const size_t pixels = static_cast<size_t>(picture.width) * picture.height;
  for (size_t i = 0; i < pixels; ++i) {
    const uint8_t* from = picture.data.data() + i * channels;
    const int alpha = has_alpha ? from[channels - 1] : 255;
    for (int c = 0; c < 3; ++c) {
      const int colour = from[has_colour ? c : 0];
      rgb.data[i * 3 + c] = static_cast<uint8_t>((colour * alpha + background * (255 - alpha) + 127) / 255);
    }
  }
  return rgb;
}

namespace codecs {

void check_picture_size(int64_t width, int64_t height, const PictureLimits& limits, const std::string& name) {
  if (width <= 0 || height <= 0) throw Error(fmt::format("cannot read '{}': it has no pixels", name));
  if (width > limits.max_side || height > limits.max_side || width * height > limits.max_pixels)
    throw Error(fmt::format(
        "cannot read '{}': {}x{} pixels is more than the limit of {} a side and {} in all; scale it down",
        name, width, height, limits.max_side, limits.max_pixels));
}

Picture turn_upright(Picture picture, int orientation) {
  if (orientation < 2 || orientation > 8) return picture;
  const int width = picture.width, height = picture.height, channels = picture.channels;
  const bool transposed = orientation >= 5;
  // Where the stored picture's right and down run in the upright one.
  const bool flip_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool flip_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Picture upright(transposed ? height : width, transposed ? width : height, channels);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const int right = flip_x ? width - 1 - x : x;
      const int down = flip_y ? height - 1 - y : y;
      const size_t to =
          transposed ? static_cast<size_t>(right) * height + down : static_cast<size_t>(down) * width + right;
      std::memcpy(&upright.data[to * channels],
                  &picture.data[(static_cast<size_t>(y) * width + x) * channels],
                  static_cast<size_t>(channels));
    }
  return upright;
}

}  // namespace codecs
}  // namespace eg4d
