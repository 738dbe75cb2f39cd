#include <fmt/format.h>

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <jpeglib.h>  // needs <cstdio> before it

#include <jerror.h>

#include "core/error.h"
#include "io/image_codecs.h"

namespace eg4d {
namespace {

// A progressive file may hold any number of scans over the whole picture; honest encoders write about ten.
constexpr int kMaxScans = 200;

// libjpeg reports errors by longjmp: the functions that call it under setjmp hold plain data only.
struct ErrorManager {
  jpeg_error_mgr base;  // first, so that libjpeg's pointer is a pointer to this
  jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

void on_error(j_common_ptr codec) {
  auto* errors = reinterpret_cast<ErrorManager*>(codec->err);
  errors->base.format_message(codec, errors->message);
  longjmp(errors->jump, 1);
}

// libjpeg fills what is missing with grey and warns; for training data that is an error.
void on_message(j_common_ptr codec, int level) {
  if (level >= 0) return;
  switch (codec->err->msg_code) {
    case JWRN_ARITH_BAD_CODE:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_JPEG_EOF:
    case JWRN_MUST_RESYNC:
      on_error(codec);
  }
}

void on_progress(j_common_ptr codec) {
  if (reinterpret_cast<j_decompress_ptr>(codec)->input_scan_number > kMaxScans) {
    auto* errors = reinterpret_cast<ErrorManager*>(codec->err);
    std::snprintf(errors->message, sizeof(errors->message), "more than %d scans", kMaxScans);
    longjmp(errors->jump, 1);
  }
}

jpeg_error_mgr* install(ErrorManager& errors) {
  errors.message[0] = 0;
  jpeg_std_error(&errors.base);
  errors.base.error_exit = on_error;
  errors.base.emit_message = on_message;
  return &errors.base;
}

struct Decompressor : jpeg_decompress_struct {
  Decompressor() : jpeg_decompress_struct{} {}
  ~Decompressor() { jpeg_destroy_decompress(this); }
};

class Reader {
 public:
  Reader(Bytes file, const std::string& name, const PictureLimits& limits) : name_(name), file_(file) {
    codec_.err = install(errors_);
    if (!read_header()) fail();
    codecs::check_picture_size(codec_.image_width, codec_.image_height, limits, name);
    if (codec_.out_color_space == JCS_UNKNOWN)
      throw Error(
          fmt::format("cannot read '{}': a JPEG of {} colour components is not supported; convert it to PNG",
                      name, codec_.num_components));
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  PictureSize size() const {
    PictureSize size{static_cast<int>(codec_.image_width), static_cast<int>(codec_.image_height),
                     codec_.out_color_space == JCS_GRAYSCALE ? 1 : 3};
    if (orientation() >= 5) std::swap(size.width, size.height);
    return size;
  }

  Picture picture() {
    const bool four = codec_.out_color_space == JCS_CMYK;
    const int channels = four ? 4 : codec_.out_color_space == JCS_GRAYSCALE ? 1 : 3;
    const int upright = orientation();
    Picture picture(static_cast<int>(codec_.image_width), static_cast<int>(codec_.image_height), channels);
    if (!read_rows(picture.data.data(), static_cast<size_t>(picture.width) * channels)) fail();
    if (four) picture = rgb_from_cmyk(picture);
    return codecs::turn_upright(std::move(picture), upright);
  }

 private:
  [[noreturn]] void fail() {
    throw Error(
        fmt::format("cannot read '{}': the JPEG data is damaged or truncated ({})", name_, errors_.message));
  }

  bool read_header() {
    if (setjmp(errors_.jump)) return false;
    jpeg_create_decompress(&codec_);
    jpeg_mem_src(&codec_, reinterpret_cast<const unsigned char*>(file_.data()), file_.size());
    jpeg_save_markers(&codec_, JPEG_APP0 + 1, 0xffff);
    progress_.progress_monitor = on_progress;
    codec_.progress = &progress_;
    jpeg_read_header(&codec_, TRUE);
    switch (codec_.jpeg_color_space) {
      case JCS_GRAYSCALE:
        codec_.out_color_space = JCS_GRAYSCALE;
        break;
      case JCS_RGB:
      case JCS_YCbCr:
        codec_.out_color_space = JCS_RGB;
        break;
      case JCS_CMYK:
      case JCS_YCCK:
        codec_.out_color_space = JCS_CMYK;
        break;
      default:
        codec_.out_color_space = JCS_UNKNOWN;
    }
    return true;
  }

  bool read_rows(uint8_t* data, size_t row) {
    if (setjmp(errors_.jump)) return false;
    jpeg_start_decompress(&codec_);
    while (codec_.output_scanline < codec_.output_height) {
      JSAMPROW to = data + row * codec_.output_scanline;
      jpeg_read_scanlines(&codec_, &to, 1);
    }
    jpeg_finish_decompress(&codec_);
    return true;
  }

  // Adobe's programs store CMYK inverted (ink 255 means none) and say so by their marker.
  Picture rgb_from_cmyk(const Picture& cmyk) const {
    const int invert = codec_.saw_Adobe_marker ? 0 : 255;
    Picture rgb(cmyk.width, cmyk.height, 3);
    for (size_t i = 0; i < rgb.data.size() / 3; ++i) {
      const uint8_t* ink = &cmyk.data[i * 4];
      const int paper = ink[3] ^ invert;
      for (int c = 0; c < 3; ++c)
        rgb.data[i * 3 + c] = static_cast<uint8_t>(((ink[c] ^ invert) * paper + 127) / 255);
    }
    return rgb;
  }

  // Exif 2.32: a TIFF header ("II*\0" or "MM\0*", offset of the first directory), then entries of 12 bytes:
  // tag, type, count, value. The orientation is tag 0x0112, type 3 (short).
  int orientation() const {
    for (jpeg_saved_marker_ptr marker = codec_.marker_list; marker; marker = marker->next) {
      if (marker->marker != JPEG_APP0 + 1 || marker->data_length < 14 ||
          std::memcmp(marker->data, "Exif\0\0", 6) != 0)
        continue;
      const uint8_t* tiff = marker->data + 6;
      const size_t length = marker->data_length - 6;
      const bool little = tiff[0] == 'I';
      auto number = [&](size_t at, size_t bytes) {
        size_t value = 0;
        for (size_t i = 0; i < bytes; ++i) value |= size_t{tiff[at + i]} << 8 * (little ? i : bytes - 1 - i);
        return value;
      };
      const size_t directory = number(4, 4);
      if (directory + 2 > length) continue;
      for (size_t i = 0, entries = number(directory, 2); i < entries && directory + 14 + 12 * i <= length;
           ++i) {
        const size_t entry = directory + 2 + 12 * i;
        if (number(entry, 2) != 0x0112 || number(entry + 2, 2) != 3) continue;
        const size_t value = number(entry + 8, 2);
        return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
      }
    }
    return 1;
  }

  std::string name_;
  Bytes file_;
  jpeg_progress_mgr progress_{};
  ErrorManager errors_;
  Decompressor codec_;
};

bool compress(jpeg_compress_struct& codec, ErrorManager& errors, const Picture& picture, int quality,
              unsigned char** bytes, unsigned long* count) {
  if (setjmp(errors.jump)) return false;
  jpeg_create_compress(&codec);
  jpeg_mem_dest(&codec, bytes, count);
  codec.image_width = static_cast<JDIMENSION>(picture.width);
  codec.image_height = static_cast<JDIMENSION>(picture.height);
  codec.input_components = picture.channels;
  codec.in_color_space = picture.channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_set_defaults(&codec);
  jpeg_set_quality(&codec, quality, TRUE);
  jpeg_start_compress(&codec, TRUE);
  const size_t row = static_cast<size_t>(picture.width) * picture.channels;
  while (codec.next_scanline < codec.image_height) {
    JSAMPROW from = const_cast<uint8_t*>(picture.data.data() + row * codec.next_scanline);
    jpeg_write_scanlines(&codec, &from, 1);
  }
  jpeg_finish_compress(&codec);
  return true;
}

}  // namespace

PictureSize codecs::jpeg_size(Bytes file, const std::string& name, const PictureLimits& limits) {
  return Reader(file, name, limits).size();
}

Picture codecs::decode_jpeg(Bytes file, const std::string& name, const PictureLimits& limits) {
  return Reader(file, name, limits).picture();
}

std::vector<uint8_t> codecs::encode_jpeg(const Picture& picture, int quality) {
  jpeg_compress_struct codec{};
  ErrorManager errors;
  codec.err = install(errors);
  unsigned char* bytes = nullptr;
  unsigned long count = 0;
  const bool done = compress(codec, errors, picture, quality, &bytes, &count);
  jpeg_destroy_compress(&codec);
  std::vector<uint8_t> result;
  if (done) result.assign(bytes, bytes + count);
  std::free(bytes);
  if (!done)
    throw Error(fmt::format("cannot encode a JPEG of {}x{} pixels: {}", picture.width, picture.height,
                            errors.message));
  return result;
}

}  // namespace eg4d
