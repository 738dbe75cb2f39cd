#include "formats/spz.h"

#include <gtest/gtest.h>

#include "formats/compression.h"
#include "formats/splat_numbers.h"
#include "io/ply_writer.h"
#include "support/expect_error.h"
#include "support/random_cloud.h"
#include "support/temporary_folder.h"

namespace eg4d::splat {
namespace {

Bytes bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string header(uint32_t version, uint32_t count, int degree, int fractional_bits, int flags = 0) {
  std::string text;
  put(text, 0x5053474eu);
  put(text, version);
  put(text, count);
  for (const int value : {degree, fractional_bits, flags, 0}) text.push_back(static_cast<char>(value));
  return text;
}

// One Gaussian of degree 1 at (1, -1, 0.5): positions with 12 fractional bits.
std::string one_gaussian() {
  std::string text("\x00\x10\x00\x00\xf0\xff\x00\x08\x00", 9);
  text += "\x80";                                 // opacity
  text += std::string("\xff\x00\x80", 3);         // colour
  text += std::string("\xa0\x00\xff", 3);         // log-scales 0, -10, 5.9375
  put(text, 3u << 30 | 511u << 20 | 512u << 10);  // w the largest, x = 1/√2, y = -0, z = 0
  text += std::string("\x80\x00\xff\x81\x82\x83\x84\x85\x86", 9);
  return text;
}

void expect_one_gaussian(const GaussianCloud& cloud) {
  ASSERT_EQ(cloud.count(), 1);
  EXPECT_EQ(cloud.positions, (std::vector<float>{1, -1, 0.5f}));
  EXPECT_EQ(cloud.log_scales, (std::vector<float>{0, -10, 5.9375f}));
  EXPECT_NEAR(cloud.opacity_logits[0], std::log(128.f / 127), 1e-5);
  EXPECT_NEAR(cloud.sh_dc[0], 0.5f / 0.15f, 1e-5);
  EXPECT_NEAR(cloud.sh_dc[1], -0.5f / 0.15f, 1e-5);
  EXPECT_NEAR(cloud.quaternions[0], std::sqrt(0.5), 1e-6);
  EXPECT_NEAR(cloud.quaternions[1], std::sqrt(0.5), 1e-6);
  EXPECT_NEAR(cloud.quaternions[2], 0, 1e-6);
  EXPECT_EQ(cloud.sh_rest[0], 0);
  EXPECT_EQ(cloud.sh_rest[1], -1);
  EXPECT_EQ(cloud.sh_rest[2], 127 / 128.f);
  EXPECT_EQ(cloud.sh_rest[8], 6 / 128.f);
  EXPECT_EQ(cloud.sh_rest[9], 0);
}

TEST(Spz, HandMadeBytesOfVersion3) {
  const std::string file = gzip(header(3, 1, 1, 12) + one_gaussian());
  expect_one_gaussian(decode_spz(bytes_of(file), "a.spz"));
  EXPECT_EQ(spz_version(bytes_of(file)), 3);
  // Extensions stand behind the Gaussians, and are left alone.
  expect_one_gaussian(
      decode_spz(bytes_of(gzip(header(3, 1, 1, 12, 2) + one_gaussian() + "extension")), "a.spz"));
  EXPECT_ERROR(decode_spz(bytes_of(gzip(header(3, 1, 1, 12) + one_gaussian() + "x")), "a.spz"),
               "more than its 1 Gaussians");
}

std::string version4(const std::string& head, const std::string& extensions, uint64_t promised = 9) {
  const std::string body = one_gaussian();
  const size_t sizes[] = {9, 1, 3, 3, 4, 9};
  std::string text = head, toc, streams;
  text.pop_back();
  text.push_back(6);
  put(text, static_cast<uint32_t>(32 + extensions.size()));
  text.resize(32, '\0');
  size_t at = 0;
  for (const size_t size : sizes) {
    const std::string packed = zstd(body.substr(at, size), 3);
    put(toc, uint64_t{packed.size()});
    put(toc, at == 0 ? promised : uint64_t{size});
    streams += packed;
    at += size;
  }
  return text + extensions + toc + streams;
}

TEST(Spz, HandMadeBytesOfVersion4) {
  const std::string file = version4(header(4, 1, 1, 12), "");
  expect_one_gaussian(decode_spz(bytes_of(file), "a.spz"));
  EXPECT_EQ(spz_version(bytes_of(file)), 4);
  expect_one_gaussian(decode_spz(bytes_of(version4(header(4, 1, 1, 12, 2), "12345678")), "a.spz"));
  EXPECT_ERROR(decode_spz(bytes_of(version4(header(4, 1, 1, 12), "", 1u << 30)), "a.spz"),
               "array 0 is damaged");
  EXPECT_ERROR(decode_spz(bytes_of(version4(header(4, 2, 1, 12), "")), "a.spz"), "array 0 is damaged");
  EXPECT_ERROR(decode_spz(bytes_of(file).first(file.size() - 1), "a.spz"), "array 5 is damaged or truncated");
  EXPECT_ERROR(decode_spz(bytes_of(file).first(31), "a.spz"), "truncated");
}

TEST(Spz, Version2HasThreeComponentsOfARotation) {
  std::string body = one_gaussian();
  body.replace(16, 4, std::string("\xff\x7f\x80", 3));
  const GaussianCloud cloud = decode_spz(bytes_of(gzip(header(2, 1, 1, 12) + body)), "a.spz");
  EXPECT_NEAR(cloud.quaternions[1], 1, 1e-6);
  EXPECT_NEAR(cloud.quaternions[2], -0.0039, 1e-4);
}

TEST(Spz, WhatIsLost) {
  test::TemporaryFolder folder;
  for (const int version : {3, 4})
    for (const int degree : {0, 1, 2, 3}) {
      GaussianCloud cloud = test::random_cloud(300, degree);
      write_spz(folder / "a.spz", cloud, {.version = version});
      const GaussianCloud read = decode_spz(MappedFile(folder / "a.spz").bytes(), "a.spz");
      EXPECT_EQ(sh_degree_of(read), degree);
      const test::CloudErrors errors = test::errors_between(cloud, read);
      EXPECT_LE(errors.position, 1.6f / 8192);
      EXPECT_LE(errors.log_scale, 1.001f / 32);
      EXPECT_LT(errors.rotation, 5e-6f);
      EXPECT_LT(errors.colour, 1.0f);
      EXPECT_LT(errors.opacity, 0.51f / 255);
      EXPECT_LE(errors.harmonic, 1.001f / 256);
    }
}

TEST(Spz, BitsAndBoundsAreTheUsers) {
  test::TemporaryFolder folder;
  const GaussianCloud cloud = test::random_cloud(300, 3);
  const auto written = [&](const SpzOptions& options) {
    write_spz(folder / "a.spz", cloud, options);
    return decode_spz(MappedFile(folder / "a.spz").bytes(), "a.spz");
  };
  EXPECT_LE(test::errors_between(cloud, written({.largest_error = 1e-5f})).position, 1e-5f);
  const auto fine = std::filesystem::file_size(folder / "a.spz");
  const GaussianCloud coarse = written({.sh_bits = 4, .largest_error = 0.01f});
  EXPECT_LE(test::errors_between(cloud, coarse).harmonic, 17.f / 256);
  EXPECT_GT(test::errors_between(cloud, coarse).harmonic, 4.f / 256);
  EXPECT_LT(std::filesystem::file_size(folder / "a.spz"), 0.8 * static_cast<double>(fine));
  GaussianCloud huge = cloud;
  huge.positions[0] = 1e6f;
  write_spz(folder / "a.spz", huge, {});
  EXPECT_LE(test::errors_between(huge, decode_spz(MappedFile(folder / "a.spz").bytes(), "a")).position, 0.5f);
  huge.positions[0] = 1e7f;
  EXPECT_ERROR(write_spz(folder / "a.spz", huge, {}), "coordinates up to 8388607");
}

TEST(Spz, DamageIsToldInOneSentence) {
  const auto decode = [](const std::string& file) { decode_spz(bytes_of(file), "a.spz"); };
  const std::string body = one_gaussian(), file = gzip(header(3, 1, 1, 12) + body);
  EXPECT_ERROR(decode(""), "cannot read 'a.spz'");
  EXPECT_ERROR(decode(file.substr(0, file.size() / 2)), "cannot read 'a.spz'");
  EXPECT_ERROR(decode(gzip("no such thing at all, but long enough")), "it is no .spz file");
  EXPECT_ERROR(decode(gzip(header(3, 2, 1, 12) + body)), "of the 74 bytes of 2 Gaussians; it is truncated");
  EXPECT_ERROR(decode(gzip(header(3, 100000000, 3, 12) + body)), "promises 100000000 Gaussians");
  EXPECT_ERROR(decode(gzip(header(9, 1, 1, 12) + body)), "version 9");
  EXPECT_ERROR(decode(gzip(header(3, 1, 7, 12) + body)), "degree 7");
  EXPECT_ERROR(decode(gzip(header(3, 1, 1, 99) + body)), "99 fractional bits");
  EXPECT_EQ(decode_spz(bytes_of(gzip(header(3, 0, 3, 12))), "a").count(), 0);
  // A bomb: a million zeros in a thousand bytes are no Gaussians.
  EXPECT_ERROR(decode(gzip(header(3, 50000, 0, 12) + std::string(1000000, '\0'))), "cannot hold");
  EXPECT_EQ(spz_version(bytes_of(std::string("x"))), 0);
}

}  // namespace
}  // namespace eg4d::splat
