#include "formats/antimatter_splat.h"

#include <gtest/gtest.h>

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

TEST(AntimatterSplat, HandMadeBytes) {
  std::string file;
  for (const float value : {1.f, -2.f, 3.5f, 0.25f, 1.f, 4.f}) put(file, value);
  file += std::string("\xff\x80\x00\x40\x80\x00\x80\x80", 8);
  const GaussianCloud cloud = decode_splat(bytes_of(file), "a.splat");
  ASSERT_EQ(cloud.count(), 1);
  EXPECT_EQ(cloud.positions, (std::vector<float>{1, -2, 3.5f}));
  EXPECT_EQ(cloud.log_scales, (std::vector<float>{std::log(0.25f), 0, std::log(4.f)}));
  EXPECT_NEAR(cloud.sh_dc[0], 0.5f / 0.28209479f, 1e-6);
  EXPECT_NEAR(cloud.opacity_logits[0], std::log(64.f / (255 - 64)), 1e-5);
  EXPECT_EQ(cloud.quaternions, (std::vector<float>{0, -1, 0, 0}));
  std::string again;
  append_splat(again, cloud, 0);
  EXPECT_EQ(again, file);
}

TEST(AntimatterSplat, WhatIsLost) {
  test::TemporaryFolder folder;
  const GaussianCloud cloud = test::random_cloud(300, 3);
  write_splat(folder / "a.splat", cloud);
  const GaussianCloud read = decode_splat(MappedFile(folder / "a.splat").bytes(), "a");
  const test::CloudErrors errors = test::errors_between(cloud, read);
  EXPECT_EQ(errors.position, 0);
  EXPECT_LT(errors.log_scale, 1e-5f);
  EXPECT_LE(errors.colour, 0.501f);
  EXPECT_LT(errors.opacity, 0.51f / 255);
  EXPECT_LT(errors.rotation, 1e-4f);
  EXPECT_EQ(sh_degree_of(read), 0);
  // The largest and most opaque first.
  const auto weight = [&](size_t i) {
    return read.log_scales[3 * i] + read.log_scales[3 * i + 1] + read.log_scales[3 * i + 2] +
           std::log(sigmoid(read.opacity_logits[i]));
  };
  EXPECT_GT(weight(0), weight(299));
}

TEST(AntimatterSplat, DamageIsToldInOneSentence) {
  std::string file(64, '\0');
  EXPECT_EQ(decode_splat(bytes_of(file), "a").count(), 2);
  EXPECT_EQ(decode_splat({}, "a").count(), 0);
  EXPECT_ERROR(decode_splat(bytes_of(file).first(63), "a.splat"),
               "cannot read 'a.splat': its 63 bytes are no whole");
  const float values[] = {NAN, INFINITY, -1};
  for (const float value : values) {
    std::memcpy(file.data() + 32 + 12, &value, 4);
    EXPECT_ERROR(decode_splat(bytes_of(file), "a"), "Gaussian 1 has a position or scale");
  }
}

}  // namespace
}  // namespace eg4d::splat
