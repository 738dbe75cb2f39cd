#include <fmt/format.h>
#include <webp/decode.h>
#include <webp/encode.h>

#include "core/error.h"
#include "io/image_codecs.h"

namespace eg4d {
namespace {

[[noreturn]] void fail(const std::string& name) {
  throw Error(fmt::format("cannot read '{}': the WebP data is damaged or truncated", name));
}

const uint8_t* data_of(Bytes file) {
  return reinterpret_cast<const uint8_t*>(file.data());
}

// libwebp's picture and its writer's memory, freed together.
struct Encoder {
  WebPPicture picture;
  WebPMemoryWriter memory;
  Encoder() {
    WebPPictureInit(&picture);
    WebPMemoryWriterInit(&memory);
    picture.writer = WebPMemoryWrite;
    picture.custom_ptr = &memory;
  }
  ~Encoder() {
    WebPPictureFree(&picture);
    WebPMemoryWriterClear(&memory);
  }
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;
};

Picture with_colour(const Picture& grey) {
  const int channels = grey.channels + 2;
  Picture colour(grey.width, grey.height, channels);
  for (size_t i = 0; i < grey.data.size() / grey.channels; ++i) {
    for (int c = 0; c < 3; ++c) colour.data[i * channels + c] = grey.data[i * grey.channels];
    if (channels == 4) colour.data[i * 4 + 3] = grey.data[i * 2 + 1];
  }
  return colour;
}

}  // namespace

PictureSize codecs::webp_size(Bytes file, const std::string& name, const PictureLimits& limits) {
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(data_of(file), file.size(), &features) != VP8_STATUS_OK) fail(name);
  if (features.has_animation)
    throw Error(fmt::format(
        "cannot read '{}': it is an animated WebP; save one frame as PNG, or give a video", name));
  check_picture_size(features.width, features.height, limits, name);
  return {features.width, features.height, features.has_alpha ? 4 : 3};
}

Picture codecs::decode_webp(Bytes file, const std::string& name, const PictureLimits& limits) {
  const PictureSize size = webp_size(file, name, limits);
  Picture picture(size.width, size.height, size.channels);
  const auto decode = size.channels == 4 ? WebPDecodeRGBAInto : WebPDecodeRGBInto;
  if (!decode(data_of(file), file.size(), picture.data.data(), picture.data.size(),
              size.width * size.channels))
    fail(name);
  return picture;
}

std::vector<uint8_t> codecs::encode_webp(const Picture& source, float quality, bool lossless) {
  if (source.channels <= 2) return encode_webp(with_colour(source), quality, lossless);
  Encoder encoder;
  encoder.picture.width = source.width;
  encoder.picture.height = source.height;
  encoder.picture.use_argb = lossless;
  WebPConfig config;
  bool done =
      WebPConfigInit(&config) && source.width <= WEBP_MAX_DIMENSION && source.height <= WEBP_MAX_DIMENSION;
  if (done) {
    config.lossless = lossless;
    config.exact = lossless;
    config.quality = quality;
    config.method = lossless ? 6 : 4;
    const auto import = source.channels == 4 ? WebPPictureImportRGBA : WebPPictureImportRGB;
    done = import(&encoder.picture, source.data.data(), source.width * source.channels) &&
           WebPEncode(&config, &encoder.picture);
  }
  if (!done)
    throw Error(
        fmt::format("cannot encode a WebP of {}x{} pixels at quality {} (it holds at most {} pixels a side)",
                    source.width, source.height, quality, WEBP_MAX_DIMENSION));
  return {encoder.memory.mem, encoder.memory.mem + encoder.memory.size};
}

}  // namespace eg4d
