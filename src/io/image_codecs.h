#pragma once

#include "io/image.h"

// The formats behind image.h. Each decoder checks the header's size with check_picture_size before it
// allocates, and throws Error with `name` in its sentence.
namespace eg4d::codecs {

void check_picture_size(int64_t width, int64_t height, const PictureLimits& limits, const std::string& name);

PictureSize png_size(Bytes file, const std::string& name, const PictureLimits& limits);
Picture decode_png(Bytes file, const std::string& name, const PictureLimits& limits);
// Of at least one pixel, on all threads; the same bytes with any number of them.
std::vector<uint8_t> encode_png_in_strips(const Picture& picture);

PictureSize jpeg_size(Bytes file, const std::string& name, const PictureLimits& limits);
Picture decode_jpeg(Bytes file, const std::string& name, const PictureLimits& limits);
std::vector<uint8_t> encode_jpeg(const Picture& picture, int quality);

PictureSize webp_size(Bytes file, const std::string& name, const PictureLimits& limits);
Picture decode_webp(Bytes file, const std::string& name, const PictureLimits& limits);
std::vector<uint8_t> encode_webp(const Picture& picture, float quality, bool lossless);

// Turns a picture as EXIF orientation 1..8 asks (Exif 2.32, tag 0x0112); 1 leaves it as it is.
Picture turn_upright(Picture picture, int orientation);

}  // namespace eg4d::codecs
