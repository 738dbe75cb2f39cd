#include "io/image.h"

#include <gtest/gtest.h>
#include <png.h>
#include <zlib.h>

#include <cstring>

#include <jpeglib.h>  // needs <cstdio> before it

#include "support/expect_error.h"
#include "support/full_disk.h"
#include "support/temporary_folder.h"

namespace eg4d {
namespace {

using test::TemporaryFolder;

Bytes bytes_of(const std::vector<uint8_t>& data) {
  return std::as_bytes(std::span(data));
}

Picture gradient(int width, int height, int channels) {
  Picture picture(width, height, channels);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < channels; ++c)
        picture.data[(static_cast<size_t>(y) * width + x) * channels + c] =
            static_cast<uint8_t>(x * 7 + y * 11 + c * 40);
  return picture;
}

int largest_difference(const Picture& a, const Picture& b) {
  if (a.data.size() != b.data.size()) return 256;
  int largest = 0;
  for (size_t i = 0; i < a.data.size(); ++i) largest = std::max(largest, std::abs(a.data[i] - b.data[i]));
  return largest;
}

// A PNG as libpng writes it with any colour type, depth and interlacing; rows as they are stored.
struct PngFixture {
  int width = 0, height = 0, depth = 8, type = PNG_COLOR_TYPE_RGB, interlace = PNG_INTERLACE_NONE;
  std::vector<png_color> palette;
  std::vector<uint8_t> transparency;
  std::vector<std::vector<uint8_t>> rows;
};

std::vector<uint8_t> png_file(const PngFixture& fixture) {
  std::vector<uint8_t> file;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(
      png, &file,
      [](png_structp p, png_bytep data, size_t count) {
        auto* to = static_cast<std::vector<uint8_t>*>(png_get_io_ptr(p));
        to->insert(to->end(), data, data + count);
      },
      nullptr);
  png_set_IHDR(png, info, fixture.width, fixture.height, fixture.depth, fixture.type, fixture.interlace,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (!fixture.palette.empty())
    png_set_PLTE(png, info, fixture.palette.data(), static_cast<int>(fixture.palette.size()));
  if (!fixture.transparency.empty())
    png_set_tRNS(png, info, fixture.transparency.data(), static_cast<int>(fixture.transparency.size()),
                 nullptr);
  png_write_info(png, info);
  std::vector<png_bytep> rows;
  for (const auto& row : fixture.rows) rows.push_back(const_cast<png_bytep>(row.data()));
  png_write_image(png, rows.data());
  png_write_end(png, nullptr);
  png_destroy_write_struct(&png, &info);
  return file;
}

// Only a signature and an IHDR chunk: what a header promises.
std::vector<uint8_t> png_header(uint32_t width, uint32_t height, uint8_t depth, uint8_t type) {
  std::vector<uint8_t> file = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0, 0, 0, 13, 'I', 'H', 'D', 'R'};
  auto big_endian = [&](uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) file.push_back(static_cast<uint8_t>(value >> shift));
  };
  big_endian(width);
  big_endian(height);
  file.insert(file.end(), {depth, type, 0, 0, 0});
  big_endian(static_cast<uint32_t>(crc32(0, file.data() + 12, 17)));
  return file;
}

std::vector<uint8_t> jpeg_file(const Picture& picture, J_COLOR_SPACE in, J_COLOR_SPACE stored, bool adobe,
                               bool progressive = false, const std::vector<uint8_t>& app1 = {}) {
  jpeg_compress_struct codec;
  jpeg_error_mgr errors;
  codec.err = jpeg_std_error(&errors);
  jpeg_create_compress(&codec);
  unsigned char* memory = nullptr;
  unsigned long count = 0;
  jpeg_mem_dest(&codec, &memory, &count);
  codec.image_width = picture.width;
  codec.image_height = picture.height;
  codec.input_components = picture.channels;
  codec.in_color_space = in;
  jpeg_set_defaults(&codec);
  jpeg_set_colorspace(&codec, stored);
  jpeg_set_quality(&codec, 100, TRUE);
  codec.write_Adobe_marker = adobe;
  if (progressive) jpeg_simple_progression(&codec);
  jpeg_start_compress(&codec, TRUE);
  if (!app1.empty())
    jpeg_write_marker(&codec, JPEG_APP0 + 1, app1.data(), static_cast<unsigned>(app1.size()));
  for (int y = 0; y < picture.height; ++y) {
    JSAMPROW row =
        const_cast<uint8_t*>(&picture.data[static_cast<size_t>(y) * picture.width * picture.channels]);
    jpeg_write_scanlines(&codec, &row, 1);
  }
  jpeg_finish_compress(&codec);
  jpeg_destroy_compress(&codec);
  std::vector<uint8_t> file(memory, memory + count);
  free(memory);
  return file;
}

std::vector<uint8_t> exif_with_orientation(uint8_t orientation, bool little) {
  std::vector<uint8_t> exif = {'E', 'x', 'i', 'f', 0, 0};
  if (little)
    exif.insert(exif.end(),
                {'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0});
  else
    exif.insert(exif.end(),
                {'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0});
  return exif;
}

TEST(Png, KeepsEveryChannelCount) {
  TemporaryFolder folder;
  for (int channels = 1; channels <= 4; ++channels) {
    const Picture picture = gradient(37, 23, channels);
    write_png(folder / "a.png", picture);
    const Picture read = read_picture(folder / "a.png");
    EXPECT_EQ(read.channels, channels);
    EXPECT_EQ(read.data, picture.data);
    EXPECT_EQ(picture_size(folder / "a.png"), (PictureSize{37, 23, channels}));
  }
}

TEST(Png, SixteenBitsAreScaledToEight) {
  const auto file =
      png_file({2, 1, 16, PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE, {}, {}, {{0x80, 0xff, 0xff, 0xff}}});
  const Picture picture = decode_picture(bytes_of(file), "a.png");
  EXPECT_EQ(picture.data, (std::vector<uint8_t>{0x80, 0xff}));  // 33023/65535·255 = 128.5 less a little
}

TEST(Png, FewBitsAreSpreadOverTheRange) {
  const auto file = png_file({8, 1, 1, PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE, {}, {}, {{0b10100000}}});
  EXPECT_EQ(decode_picture(bytes_of(file), "a.png").data, (std::vector<uint8_t>{255, 0, 255, 0, 0, 0, 0, 0}));
}

TEST(Png, PalettesBecomeColourAndAlpha) {
  PngFixture fixture{4,
                     1,
                     2,
                     PNG_COLOR_TYPE_PALETTE,
                     PNG_INTERLACE_NONE,
                     {{1, 2, 3}, {4, 5, 6}, {7, 8, 9}},
                     {},
                     {{0b00011000}}};
  Picture picture = decode_picture(bytes_of(png_file(fixture)), "a.png");
  EXPECT_EQ(picture.channels, 3);
  EXPECT_EQ(picture.data, (std::vector<uint8_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3}));
  fixture.transparency = {255, 0};
  picture = decode_picture(bytes_of(png_file(fixture)), "a.png");
  EXPECT_EQ(picture.channels, 4);
  EXPECT_EQ(picture.data, (std::vector<uint8_t>{1, 2, 3, 255, 4, 5, 6, 0, 7, 8, 9, 255, 1, 2, 3, 255}));
  EXPECT_EQ(decode_picture_size(bytes_of(png_file(fixture)), "a.png"), (PictureSize{4, 1, 4}));
}

TEST(Png, InterlacedEqualsPlain) {
  const Picture picture = gradient(21, 13, 3);
  PngFixture fixture{21, 13, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_ADAM7, {}, {}, {}};
  for (int y = 0; y < 13; ++y)
    fixture.rows.emplace_back(picture.data.begin() + y * 63, picture.data.begin() + (y + 1) * 63);
  EXPECT_EQ(decode_picture(bytes_of(png_file(fixture)), "a.png").data, picture.data);
}

TEST(Png, OnePixel) {
  const Picture picture = gradient(1, 1, 4);
  EXPECT_EQ(decode_picture(bytes_of(encode_png(picture)), "a.png").data, picture.data);
}

// Those are encoded in strips: with every filter, noise and flat parts among them.
TEST(Png, LargePicturesComeBack) {
  for (const int channels : {1, 2, 3, 4}) {
    Picture picture = gradient(1531, 3001, channels);
    uint32_t state = 1;
    for (size_t i = picture.data.size() / 3; i < picture.data.size() / 2; ++i)
      picture.data[i] = static_cast<uint8_t>((state = state * 1664525 + 1013904223) >> 24);
    std::fill(picture.data.end() - 100000, picture.data.end(), uint8_t{255});
    ASSERT_GE(picture.data.size(), size_t{4} << 20);
    const std::vector<uint8_t> file = encode_png(picture);
    EXPECT_LT(file.size(), picture.data.size() / 2);
    const Picture read = decode_picture(bytes_of(file), "a.png");
    EXPECT_EQ(read.channels, channels);
    EXPECT_TRUE(read.data == picture.data) << channels;
  }
}

TEST(Png, EveryTruncationIsAnError) {
  const std::vector<uint8_t> file = encode_png(gradient(16, 9, 3));
  for (size_t size = 8; size < file.size(); ++size)
    EXPECT_ERROR(decode_picture(bytes_of(file).first(size), "cut.png"), "cannot read 'cut.png': ");
}

TEST(Png, DamageIsAnError) {
  std::vector<uint8_t> file = encode_png(gradient(16, 9, 3));
  file[file.size() - 20] ^= 0x55;
  EXPECT_ERROR(decode_picture(bytes_of(file), "a.png"), "cannot read 'a.png': the PNG data is damaged");
}

TEST(Png, TheHeaderIsCheckedBeforeMemoryIsTaken) {
  EXPECT_ERROR(decode_picture(bytes_of(png_header(20000, 20000, 8, 2)), "huge.png"),
               "cannot read 'huge.png': 20000x20000 pixels is more than the limit of 16384 a side");
  EXPECT_ERROR(decode_picture(bytes_of(png_header(0x7fffffff, 0x7fffffff, 16, 6)), "huge.png"),
               "more than the limit");
  EXPECT_ERROR(decode_picture_size(bytes_of(png_header(0, 5, 8, 2)), "none.png"), "cannot read 'none.png': ");
  // Within the limit, yet the file cannot hold so many pixels.
  std::vector<uint8_t> bomb = png_header(16384, 16384, 8, 6);
  bomb.insert(bomb.end(), {0, 0, 0, 0, 'I', 'D', 'A', 'T', 0x35, 0xaf, 0x06, 0x1e});
  EXPECT_ERROR(decode_picture(bytes_of(bomb), "bomb.png"), "45 bytes cannot hold its 16384x16384 pixels");
}

TEST(Jpeg, ColourAndGrey) {
  TemporaryFolder folder;
  for (int channels : {1, 3}) {
    Picture picture(40, 30, channels);
    for (size_t i = 0; i < picture.data.size(); ++i)
      picture.data[i] = static_cast<uint8_t>(60 + i / picture.width);
    write_jpeg(folder / "a.jpg", picture, 100);
    const Picture read = read_picture(folder / "a.jpg");
    EXPECT_EQ(read.channels, channels);
    EXPECT_LE(largest_difference(read, picture), 4);
    EXPECT_EQ(picture_size(folder / "a.jpg"), (PictureSize{40, 30, channels}));
  }
  EXPECT_ERROR(write_jpeg(folder / "b.jpg", gradient(4, 4, 4)), "JPEG has no alpha");
}

TEST(Jpeg, CmykBecomesRgb) {
  Picture cmyk(16, 16, 4);
  for (size_t i = 0; i < cmyk.data.size(); i += 4) {
    const uint8_t ink[] = {0, 255, 255, 51};  // red at 80 %
    std::memcpy(&cmyk.data[i], ink, 4);
  }
  Picture inverted = cmyk;
  for (uint8_t& value : inverted.data) value = static_cast<uint8_t>(255 - value);
  for (J_COLOR_SPACE stored : {JCS_CMYK, JCS_YCCK})
    for (bool adobe : {false, true}) {
      if (stored == JCS_YCCK && !adobe) continue;  // only the marker tells YCCK from CMYK
      const auto file = jpeg_file(adobe ? inverted : cmyk, JCS_CMYK, stored, adobe);
      const Picture rgb = decode_picture(bytes_of(file), "a.jpg");
      ASSERT_EQ(rgb.channels, 3);
      EXPECT_NEAR(rgb.data[0], 204, 3);
      EXPECT_NEAR(rgb.data[1], 0, 3);
      EXPECT_NEAR(rgb.data[2], 0, 3);
    }
}

TEST(Jpeg, ExifOrientationIsApplied) {
  // Stored 24x16: the left half black, the right half white, with a grey top row of blocks on the left.
  Picture stored(24, 16, 1);
  for (int y = 0; y < 16; ++y)
    for (int x = 0; x < 24; ++x) stored.data[y * 24 + x] = x >= 8 ? 255 : y < 8 ? 128 : 0;
  // Upright position of the grey block by Exif's definition of 1..8: (right?, bottom?), sides swapped from 5
  // on.
  const bool right[] = {false, true, true, false, false, true, true, false};
  const bool bottom[] = {false, false, true, true, false, false, true, true};
  for (int orientation = 1; orientation <= 8; ++orientation)
    for (bool little : {false, true}) {
      const auto file = jpeg_file(stored, JCS_GRAYSCALE, JCS_GRAYSCALE, false, false,
                                  exif_with_orientation(static_cast<uint8_t>(orientation), little));
      const Picture upright = decode_picture(bytes_of(file), "a.jpg");
      EXPECT_EQ(upright.width, orientation >= 5 ? 16 : 24);
      EXPECT_EQ(decode_picture_size(bytes_of(file), "a.jpg"),
                (PictureSize{upright.width, upright.height, 1}));
      const int x = right[orientation - 1] ? upright.width - 4 : 4,
                y = bottom[orientation - 1] ? upright.height - 4 : 4;
      EXPECT_NEAR(upright.data[static_cast<size_t>(y) * upright.width + x], 128, 4) << orientation;
    }
}

TEST(Jpeg, AnImpossibleOrientationIsIgnored) {
  for (const uint8_t orientation : {0, 9, 255}) {
    const auto file = jpeg_file(gradient(16, 8, 3), JCS_RGB, JCS_YCbCr, false, false,
                                exif_with_orientation(orientation, true));
    EXPECT_EQ(decode_picture_size(bytes_of(file), "a.jpg"), (PictureSize{16, 8, 3}));
    EXPECT_EQ(decode_picture(bytes_of(file), "a.jpg").width, 16);
  }
}

TEST(Jpeg, ProgressiveIsReadAndEveryTruncationIsAnError) {
  const Picture picture = gradient(40, 24, 3);
  for (bool progressive : {false, true}) {
    const auto file = jpeg_file(picture, JCS_RGB, JCS_YCbCr, false, progressive);
    EXPECT_EQ(decode_picture(bytes_of(file), "a.jpg").width, 40);
    for (size_t size = 3; size < file.size(); size += 7)
      EXPECT_ERROR(decode_picture(bytes_of(file).first(size), "cut.jpg"),
                   "cannot read 'cut.jpg': the JPEG data is");
  }
}

TEST(Webp, LosslessKeepsEveryBit) {
  TemporaryFolder folder;
  for (int channels : {3, 4}) {
    const Picture picture = gradient(33, 17, channels);
    write_webp_lossless(folder / "a.webp", picture);
    EXPECT_EQ(read_picture(folder / "a.webp").data, picture.data);
    EXPECT_EQ(picture_size(folder / "a.webp"), (PictureSize{33, 17, channels}));
  }
  write_webp_lossless(folder / "grey.webp", gradient(8, 8, 1));
  EXPECT_EQ(read_picture(folder / "grey.webp").data, compose_on_background(gradient(8, 8, 1), 0).data);
}

TEST(Webp, LossyIsNear) {
  TemporaryFolder folder;
  Picture picture(64, 64, 3);
  for (size_t i = 0; i < picture.data.size(); ++i) picture.data[i] = static_cast<uint8_t>(40 + i / 192);
  write_webp(folder / "a.webp", picture, 95);
  EXPECT_LE(largest_difference(read_picture(folder / "a.webp"), picture), 6);
}

TEST(Webp, AnimatedIsRefused) {
  const std::vector<uint8_t> file = {'R', 'I', 'F', 'F', 22, 0, 0, 0, 'W', 'E', 'B', 'P', 'V', 'P', '8',
                                     'X', 10,  0,   0,   0,  2, 0, 0, 0,   9,   0,   0,   9,   0,   0};
  EXPECT_ERROR(decode_picture(bytes_of(file), "a.webp"), "cannot read 'a.webp': it is an animated WebP");
}

TEST(Webp, EveryTruncationIsAnError) {
  TemporaryFolder folder;
  write_webp(folder / "a.webp", gradient(20, 20, 4));
  const std::string text = test::read_text(folder / "a.webp");
  for (size_t size = 12; size < text.size(); size += 3)
    EXPECT_ERROR(decode_picture(std::as_bytes(std::span(text)).first(size), "cut.webp"),
                 "cannot read 'cut.webp': ");
}

TEST(Picture, ContentDecidesNotTheName) {
  TemporaryFolder folder;
  write_jpeg(folder / "a.png", gradient(8, 8, 3));
  EXPECT_EQ(read_picture(folder / "a.png").width, 8);
}

TEST(Picture, BadFilesAreNamed) {
  TemporaryFolder folder;
  EXPECT_ERROR(read_picture(folder / "missing.png"), "missing.png': No such file or directory");
  EXPECT_ERROR(read_picture(folder.path()), "it is a directory");
  test::write_text(folder / "empty.png", "");
  EXPECT_ERROR(read_picture(folder / "empty.png"), "empty.png': the file is empty");
  test::write_text(folder / "text.png", "hello");
  EXPECT_ERROR(read_picture(folder / "text.png"), "text.png' is not a PNG, JPEG or WebP picture");
  EXPECT_ERROR(picture_size(folder / "text.png"), "is not a PNG, JPEG or WebP picture");
}

TEST(Picture, LimitsHoldForEveryFormat) {
  TemporaryFolder folder;
  write_png(folder / "a.png", gradient(30, 20, 3));
  write_jpeg(folder / "a.jpg", gradient(30, 20, 3));
  write_webp(folder / "a.webp", gradient(30, 20, 3));
  for (const char* name : {"a.png", "a.jpg", "a.webp"}) {
    EXPECT_ERROR(read_picture(folder / name, {.max_side = 29}),
                 "30x20 pixels is more than the limit of 29 a side");
    EXPECT_ERROR(picture_size(folder / name, {.max_pixels = 599}), "and 599 in all");
    EXPECT_EQ(read_picture(folder / name, {.max_side = 30, .max_pixels = 600}).height, 20);
  }
}

TEST(Picture, AFullDiskLeavesNothingBehind) {
  TemporaryFolder folder;
  Picture noise(64, 64, 3);
  for (size_t i = 0; i < noise.data.size(); ++i) noise.data[i] = static_cast<uint8_t>(i * i * 31 >> 3);
  {
    const test::FullDisk disk(200);
    EXPECT_ERROR(write_png(folder / "a.png", noise), "cannot write");
    EXPECT_ERROR(write_jpeg(folder / "a.jpg", noise), "cannot write");
    EXPECT_ERROR(write_webp_lossless(folder / "a.webp", noise), "cannot write");
  }
  EXPECT_EQ(folder.file_count(), 0u);
  EXPECT_ERROR(write_png("/dev/full", noise), "No space left on device");
  EXPECT_ERROR(write_png(folder / "b.png", Picture()), "is not valid");
}

TEST(Picture, CompositionOnABackground) {
  Picture rgba(3, 1, 4);
  rgba.data = {10, 20, 30, 255, 10, 20, 30, 0, 100, 200, 0, 128};
  EXPECT_EQ(compose_on_background(rgba, 255).data,
            (std::vector<uint8_t>{10, 20, 30, 255, 255, 255, 177, 227, 127}));
  EXPECT_EQ(compose_on_background(rgba, 0).data, (std::vector<uint8_t>{10, 20, 30, 0, 0, 0, 50, 100, 0}));
  Picture grey(1, 1, 2);
  grey.data = {40, 255};
  EXPECT_EQ(compose_on_background(grey, 0).data, (std::vector<uint8_t>{40, 40, 40}));
  EXPECT_EQ(compose_on_background(gradient(2, 2, 3), 0).data, gradient(2, 2, 3).data);
}

}  // namespace
}  // namespace eg4d
