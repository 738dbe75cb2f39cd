#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "fuzz.h"
#include "io/image.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

constexpr eg4d::PictureLimits kLimits{.max_side = 1000, .max_pixels = 100000};

uint32_t big_endian(const uint8_t* from) {
  return uint32_t{from[0]} << 24 | uint32_t{from[1]} << 16 | uint32_t{from[2]} << 8 | from[3];
}

// Makes the checksums of PNG chunks right again, so that mutations get past them.
void repair_png(uint8_t* data, size_t size) {
  if (size < 8 || std::memcmp(data, "\x89PNG\r\n\x1a\n", 8) != 0) return;
  for (size_t at = 8; at + 12 <= size;) {
    const size_t length = big_endian(data + at);
    if (length > size - at - 12) return;
    const uint32_t crc = static_cast<uint32_t>(crc32(0, data + at + 4, static_cast<uInt>(length + 4)));
    for (size_t i = 0; i < 4; ++i) data[at + 8 + length + i] = static_cast<uint8_t>(crc >> (24 - 8 * i));
    at += 12 + length;
  }
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  const size_t mutated = LLVMFuzzerMutate(data, size, max_size);
  if (seed % 8 != 0) repair_png(data, mutated);
  return mutated;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  eg4d::fuzz::survive([&] {
    const eg4d::PictureSize promised =
        eg4d::decode_picture_size(eg4d::fuzz::bytes_of(data, size), "fuzz", kLimits);
    const eg4d::Picture picture = eg4d::decode_picture(eg4d::fuzz::bytes_of(data, size), "fuzz", kLimits);
    eg4d::fuzz::require(promised == eg4d::PictureSize{picture.width, picture.height, picture.channels});
    const eg4d::Picture rgb = eg4d::compose_on_background(picture, 255);
    eg4d::fuzz::require(rgb.data.size() == static_cast<size_t>(picture.width) * picture.height * 3);
  });
  return 0;
}
