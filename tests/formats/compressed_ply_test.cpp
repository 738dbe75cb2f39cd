#include "formats/compressed_ply.h"

#include <gtest/gtest.h>

#include <bit>

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

// Two Gaussians of degree 1, by hand.
std::string hand_made(const std::string& from = "", const std::string& to = "") {
  std::string text = "ply\nformat binary_little_endian 1.0\nelement chunk 1\n";
  for (const char* name :
       {"min_x", "min_y", "min_z", "max_x", "max_y", "max_z", "min_scale_x", "min_scale_y", "min_scale_z",
        "max_scale_x", "max_scale_y", "max_scale_z", "min_r", "min_g", "min_b", "max_r", "max_g", "max_b"})
    text += std::string("property float ") + name + "\n";
  text += "element vertex 2\n";
  for (const char* name : {"packed_position", "packed_rotation", "packed_scale", "packed_color"})
    text += std::string("property uint ") + name + "\n";
  text += "element sh 2\n";
  for (int i = 0; i < 9; ++i) text += "property uchar f_rest_" + std::to_string(i) + "\n";
  text += "end_header\n";
  if (!from.empty()) text.replace(text.find(from), from.size(), to);
  for (const float value :
       {-1.f, -2.f, 0.f, 1.f, 2.f, 10.f, -6.f, -6.f, -6.f, -2.f, -2.f, -2.f, 0.f, 0.f, 0.f, 1.f, 1.f, 2.f})
    put(text, value);
  // First: the least of everything, x of the quaternion the largest, opacity 0.
  for (const uint32_t word : {0u, 1u << 30 | 512u << 20 | 512u << 10 | 512u, 0u, 0u}) put(text, word);
  // Second: the most of position and scale, w the largest, colour half, opacity full.
  for (const uint32_t word : {0xffffffffu, 1023u << 20 | 512u << 10 | 512u, 0xffffffffu, 0xff80'00ffu})
    put(text, word);
  text += std::string("\0\1\2\3\4\5\6\7\xff", 9) + std::string(9, '\x80');
  return text;
}

TEST(CompressedPly, HandMadeBytes) {
  const std::string file = hand_made();
  ASSERT_TRUE(is_compressed_ply(bytes_of(file)));
  const GaussianCloud cloud = decode_compressed_ply(bytes_of(file), "a.ply");
  ASSERT_EQ(cloud.count(), 2);
  EXPECT_EQ(cloud.positions, (std::vector<float>{-1, -2, 0, 1, 2, 10}));
  EXPECT_EQ(cloud.log_scales, (std::vector<float>{-6, -6, -6, -2, -2, -2}));
  EXPECT_NEAR(cloud.quaternions[1], 1, 1e-5);
  EXPECT_NEAR(cloud.quaternions[0], 0.0006912, 1e-6) << "512 of 1023 is no middle";
  EXPECT_NEAR(cloud.quaternions[5], std::sqrt(0.5), 1e-6);
  EXPECT_NEAR(cloud.quaternions[4], std::sqrt(0.5), 1e-5);
  EXPECT_NEAR(cloud.sh_dc[0], -0.5f / 0.28209479f, 1e-5);
  EXPECT_NEAR(cloud.sh_dc[3], 0.5f / 0.28209479f, 1e-5);
  EXPECT_NEAR(cloud.sh_dc[4], (128 / 255.f - 0.5f) / 0.28209479f, 1e-5);
  EXPECT_LT(cloud.opacity_logits[0], -13);
  EXPECT_GT(cloud.opacity_logits[1], 13);
  // f_rest of the file: channel by channel; ours: coefficient by coefficient.
  EXPECT_EQ(cloud.sh_rest[0], -4);
  EXPECT_NEAR(cloud.sh_rest[3], (1.5f / 256 - 0.5f) * 8, 1e-6);
  EXPECT_NEAR(cloud.sh_rest[1], (3.5f / 256 - 0.5f) * 8, 1e-6);
  EXPECT_EQ(cloud.sh_rest[8], 4);
  EXPECT_EQ(cloud.sh_rest[9], 0);
}

TEST(CompressedPly, WhatIsLost) {
  test::TemporaryFolder folder;
  for (const int degree : {0, 1, 2, 3}) {
    const GaussianCloud cloud = test::random_cloud(600, degree);
    write_compressed_ply(folder / "a.ply", cloud);
    const GaussianCloud read = decode_compressed_ply(MappedFile(folder / "a.ply").bytes(), "a.ply");
    ASSERT_EQ(read.count(), 600);
    EXPECT_EQ(sh_degree_of(read), degree);
    const test::CloudErrors errors = test::errors_between(cloud, read);
    EXPECT_LT(errors.position, 3.5f / 1023);  // half a step of a chunk of at most 3.5 × 2
    EXPECT_LT(errors.log_scale, 5.f / 1023);
    EXPECT_LT(errors.rotation, 3e-6f);
    EXPECT_LT(errors.colour, 2.5f);
    EXPECT_LT(errors.opacity, 0.51f / 255);
    EXPECT_LE(errors.harmonic, 8 / 256.f);
  }
}

TEST(CompressedPly, OddClouds) {
  test::TemporaryFolder folder;
  for (const int64_t count : {int64_t{0}, int64_t{1}, int64_t{256}, int64_t{257}}) {
    write_compressed_ply(folder / "a.ply", test::random_cloud(count, 3));
    EXPECT_EQ(decode_compressed_ply(MappedFile(folder / "a.ply").bytes(), "a").count(), count);
  }
  GaussianCloud flat = test::random_cloud(3, 0);
  flat.log_scales[0] = -INFINITY;
  flat.quaternions.assign(12, 0);
  write_compressed_ply(folder / "a.ply", flat);
  for (const float scale : decode_compressed_ply(MappedFile(folder / "a.ply").bytes(), "a").log_scales)
    EXPECT_GE(scale, -20.01f);
}

TEST(CompressedPly, DamageIsToldInOneSentence) {
  const auto decode = [](const std::string& file) { decode_compressed_ply(bytes_of(file), "a.ply"); };
  const std::string file = hand_made();
  EXPECT_ERROR(decode(file.substr(0, file.size() - 1)),
               "cannot read 'a.ply': its header promises 2 rows of 'sh'");
  EXPECT_ERROR(decode(hand_made("vertex 2", "vertex 9")), "promises");
  EXPECT_ERROR(decode(hand_made("vertex 2", "vertex 100000000")), "cannot hold");
  EXPECT_ERROR(decode(hand_made("chunk 1", "chunk 0")), "0 chunks for 2 Gaussians");
  EXPECT_ERROR(decode(hand_made("sh 2", "sh 1")), "harmonics of 1 of 2");
  EXPECT_ERROR(decode(hand_made("property uchar f_rest_8\n", "")), "8 bytes of harmonics fit no degree");
  EXPECT_ERROR(decode(hand_made("property uint packed_scale", "property int packed_scale")),
               "its element 'vertex' is not what a compressed PLY has there");
  std::string with_nan = file;
  const float nan = NAN;
  with_nan.replace(with_nan.find("end_header\n") + 11 + 4, 4, reinterpret_cast<const char*>(&nan), 4);
  EXPECT_ERROR(decode(with_nan), "chunk 0 has a 'min_y' that is not a finite number");
}

}  // namespace
}  // namespace eg4d::splat
