#include <fmt/format.h>
#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "core/error.h"
#include "io/image_codecs.h"

namespace eg4d {
namespace {

// libpng reports errors by longjmp: the functions that call it under setjmp hold plain data only, so that no
// destructor is jumped over.
struct Source {
  Bytes file;
  size_t position = 0;
  char message[128] = "";
};

void on_error(png_structp png, png_const_charp message) {
  auto* text = static_cast<char*>(png_get_error_ptr(png));
  std::snprintf(text, sizeof(Source::message), "%s", message);
  longjmp(png_jmpbuf(png), 1);
}

void on_warning(png_structp, png_const_charp) {}

void read_from_source(png_structp png, png_bytep to, size_t count) {
  auto* source = static_cast<Source*>(png_get_io_ptr(png));
  if (count > source->file.size() - source->position) png_error(png, "the file ends too early");
  std::memcpy(to, source->file.data() + source->position, count);
  source->position += count;
}

// The size stands at a fixed place, in the first chunk: it is checked before libpng sees the file.
void check_header(Bytes file, const PictureLimits& limits, const std::string& name) {
  if (file.size() < 24 || std::memcmp(file.data() + 12, "IHDR", 4) != 0)
    throw Error(fmt::format("cannot read '{}': the PNG data is damaged or truncated (no header)", name));
  auto big_endian = [&](size_t at) {
    int64_t value = 0;
    for (size_t i = 0; i < 4; ++i) value = value << 8 | std::to_integer<int64_t>(file[at + i]);
    return value;
  };
  codecs::check_picture_size(big_endian(16), big_endian(20), limits, name);
}

struct Handles {
  png_structp png = nullptr;
  png_infop info = nullptr;
  ~Handles() { png_destroy_read_struct(&png, &info, nullptr); }
};

class Reader {
 public:
  Reader(Bytes file, const std::string& name, const PictureLimits& limits) : name_(name) {
    check_header(file, limits, name);
    source_.file = file;
    png_ = handles_.png =
        png_create_read_struct(PNG_LIBPNG_VER_STRING, source_.message, on_error, on_warning);
    info_ = handles_.info = png_ ? png_create_info_struct(png_) : nullptr;
    if (!info_) throw Error(fmt::format("cannot read '{}': out of memory", name));
    if (!read_header()) fail();
    stored_bits_per_pixel_ = uint64_t{png_get_bit_depth(png_, info_)} * png_get_channels(png_, info_);
    if (!prepare()) fail();
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  PictureSize size() const {
    return {static_cast<int>(png_get_image_width(png_, info_)),
            static_cast<int>(png_get_image_height(png_, info_)), png_get_channels(png_, info_)};
  }

  Picture picture() {
    const PictureSize size = this->size();
    const size_t row = static_cast<size_t>(size.width) * size.channels;
    // Deflate shrinks at most 1032 times: a short file that claims many pixels takes no memory.
    const uint64_t stored = static_cast<uint64_t>(size.width) * size.height * stored_bits_per_pixel_ / 8;
    if (stored / 1032 > source_.file.size())
      throw Error(fmt::format("cannot read '{}': {} bytes cannot hold its {}x{} pixels; it is truncated",
                              name_, source_.file.size(), size.width, size.height));
    Picture picture(size.width, size.height, size.channels);
    std::vector<png_bytep> rows(static_cast<size_t>(size.height));
    for (size_t y = 0; y < rows.size(); ++y) rows[y] = picture.data.data() + y * row;
    if (!read_rows(rows.data())) fail();
    return picture;
  }

 private:
  [[noreturn]] void fail() {
    throw Error(
        fmt::format("cannot read '{}': the PNG data is damaged or truncated ({})", name_, source_.message));
  }

  bool read_header() {
    if (setjmp(png_jmpbuf(png_))) return false;
    png_set_user_limits(png_, 0x7fffffff, 0x7fffffff);  // check_picture_size tells the limit in our words
    png_set_chunk_malloc_max(png_, 8u << 20);
    png_set_chunk_cache_max(png_, 64);
    png_set_read_fn(png_, &source_, read_from_source);
    png_read_info(png_, info_);
    return true;
  }

  bool prepare() {
    if (setjmp(png_jmpbuf(png_))) return false;
    png_set_scale_16(png_);
    png_set_expand(png_);  // palette to RGB, few bits to 8, a transparent colour to alpha
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    return true;
  }

  bool read_rows(png_bytepp rows) {
    if (setjmp(png_jmpbuf(png_))) return false;
    png_read_image(png_, rows);
    png_read_end(png_, nullptr);
    return true;
  }

  std::string name_;
  Source source_;
  Handles handles_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  uint64_t stored_bits_per_pixel_ = 0;
};

constexpr size_t kLargePicture = size_t{4} << 20;  // bytes: frames are encoded beside each other instead

struct Sink {
  std::vector<uint8_t> bytes;
  char message[sizeof(Source::message)] = "";
};

void write_to_sink(png_structp png, png_bytep from, size_t count) {
  auto* sink = static_cast<Sink*>(png_get_io_ptr(png));
  sink->bytes.insert(sink->bytes.end(), from, from + count);
}

bool write_rows(png_structp png, png_infop info, const Picture& picture) {
  constexpr int kColourTypes[] = {PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB,
                                  PNG_COLOR_TYPE_RGB_ALPHA};
  if (setjmp(png_jmpbuf(png))) return false;
  png_set_IHDR(png, info, static_cast<png_uint_32>(picture.width), static_cast<png_uint_32>(picture.height),
               8, kColourTypes[picture.channels - 1], PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  const size_t row = static_cast<size_t>(picture.width) * picture.channels;
  for (int y = 0; y < picture.height; ++y) png_write_row(png, picture.data.data() + row * y);
  png_write_end(png, nullptr);
  return true;
}

}  // namespace

PictureSize codecs::png_size(Bytes file, const std::string& name, const PictureLimits& limits) {
  return Reader(file, name, limits).size();
}

Picture codecs::decode_png(Bytes file, const std::string& name, const PictureLimits& limits) {
  return Reader(file, name, limits).picture();
}

std::vector<uint8_t> encode_png(const Picture& picture) {
  if (picture.data.size() >= kLargePicture) return codecs::encode_png_in_strips(picture);
  Sink sink;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, sink.message, on_error, on_warning);
  png_infop info = png ? png_create_info_struct(png) : nullptr;
  bool done = false;
  if (info) {
    png_set_write_fn(png, &sink, write_to_sink, nullptr);
    done = write_rows(png, info, picture);
  }
  png_destroy_write_struct(&png, &info);
  if (!done)
    throw Error(
        fmt::format("cannot encode a PNG of {}x{} pixels: {}", picture.width, picture.height, sink.message));
  return std::move(sink.bytes);
}

}  // namespace eg4d
