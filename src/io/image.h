#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "io/mapped_file.h"

namespace eg4d {

// A picture in host memory, rows from the top, channels last: data[(y * width + x) * channels + c].
// Channels: 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA; alpha is not premultiplied. Values are as stored (sRGB);
// colour profiles and gamma chunks are not applied.
struct Picture {
  int width = 0, height = 0, channels = 0;
  std::vector<uint8_t> data;

  Picture() = default;
  Picture(int width, int height, int channels);  // zeros
};

struct PictureSize {
  int width = 0, height = 0, channels = 0;
  bool operator==(const PictureSize&) const = default;
};

// What a reader accepts. Sizes are checked in the file's header before memory is taken.
struct PictureLimits {
  int max_side = 16384;
  int64_t max_pixels = int64_t{1} << 28;
};

// Reads PNG (any depth, palette, interlaced; 16 bit is scaled to 8), JPEG (grey, colour, CMYK, YCCK; turned
// upright as its EXIF orientation tells) or still WebP, told apart by content. Throws Error, one sentence
// naming the file, when it is missing, a directory, empty, of another format, animated, too large, truncated
// or damaged.
Picture read_picture(const std::filesystem::path& path, const PictureLimits& limits = {});
Picture decode_picture(Bytes file, const std::string& name, const PictureLimits& limits = {});

// Width, height and channels that read_picture would give, from the header alone; same errors, except that
// damage behind the header is not seen.
PictureSize picture_size(const std::filesystem::path& path, const PictureLimits& limits = {});
PictureSize decode_picture_size(Bytes file, const std::string& name, const PictureLimits& limits = {});

// Writers are atomic: the file appears complete or not at all. Throw Error.
void write_png(const std::filesystem::path& path, const Picture& picture);
// quality 1..100; pictures with alpha are refused (JPEG has none): compose_on_background first.
void write_jpeg(const std::filesystem::path& path, const Picture& picture, int quality = 95);
// quality 0..100; grey becomes RGB. At most 16383 pixels a side.
void write_webp(const std::filesystem::path& path, const Picture& picture, float quality = 90);
// Lossless, also the colours of wholly transparent pixels.
void write_webp_lossless(const std::filesystem::path& path, const Picture& picture);

std::vector<uint8_t> encode_png(const Picture& picture);

// Any picture as RGB: alpha is composited on a background of this grey level (255 white, 0 black), rounded to
// nearest; grey is repeated.
Picture compose_on_background(const Picture& picture, uint8_t background);

}  // namespace eg4d
