#include "formats/sog.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/threads.h"
#include "formats/codebook.h"
#include "io/image_codecs.h"
#include "io/ply_writer.h"
#include "io/zip_reader.h"
#include "io/zip_writer.h"
#include "support/expect_error.h"
#include "support/random_cloud.h"
#include "support/temporary_folder.h"

namespace eg4d::splat {
namespace {

using nlohmann::json;

GaussianCloud read(const std::filesystem::path& path) {
  return decode_sog(MappedFile(path).bytes(), path.filename().string());
}

// An archive by hand: 4×4 pictures, of whose pixels the first two are Gaussians.
class HandMadeSog : public testing::Test {
 protected:
  HandMadeSog() {
    std::vector<float> codes(256);
    for (size_t i = 0; i < 256; ++i) codes[i] = static_cast<float>(i) / 16 - 8;
    meta_ = {{"version", 2},
             {"count", 2},
             {"means", {{"mins", {-1, 0, 0}}, {"maxs", {1, 2, 0}}, {"files", {"l.webp", "u.webp"}}}},
             {"scales", {{"codebook", codes}, {"files", json::array({"s.webp"})}}},
             {"quats", {{"files", json::array({"q.webp"})}}},
             {"sh0", {{"codebook", codes}, {"files", json::array({"c.webp"})}}},
             {"shN", {{"count", 2}, {"bands", 1}, {"codebook", codes}, {"files", {"p.webp", "n.webp"}}}}};
    set("l.webp", {0, 0xff, 0, 255, 0xff, 0, 0, 255});
    set("u.webp", {0, 0xff, 0, 255, 0xff, 0, 0, 255});
    set("s.webp", {0, 128, 255, 255, 128, 128, 128, 255});
    set("q.webp", {255, 128, 128, 253, 128, 128, 128, 252});
    set("c.webp", {128, 144, 112, 255, 0, 0, 0, 0});
    set("n.webp", {1, 0, 0, 255, 0, 0, 0, 255});
    Picture palette(64 * 3, 1, 4);
    for (size_t i = 0; i < 6 * 4; ++i) palette.data[i] = static_cast<uint8_t>(i % 4 == 3 ? 255 : 128 + i);
    add("p.webp", palette);
  }
  void set(const std::string& name, const std::vector<uint8_t>& pixels) {
    Picture picture(4, 4, 4);
    std::copy(pixels.begin(), pixels.end(), picture.data.begin());
    add(name, picture);
  }
  void add(const std::string& name, const Picture& picture) {
    pictures_[name] = codecs::encode_webp(picture, 100, true);
  }
  std::filesystem::path write() {
    ZipWriter zip(folder_ / "a.sog");
    for (const auto& [name, webp] : pictures_) zip.add(name, webp.data(), webp.size());
    zip.add("meta.json", meta_.dump());
    zip.commit();
    return folder_ / "a.sog";
  }

  test::TemporaryFolder folder_;
  json meta_;
  std::map<std::string, std::vector<uint8_t>> pictures_;  // WebP
};

TEST_F(HandMadeSog, IsRead) {
  const GaussianCloud cloud = read(write());
  ASSERT_EQ(cloud.count(), 2);
  EXPECT_FLOAT_EQ(cloud.positions[0], -(std::exp(1.f) - 1));
  EXPECT_FLOAT_EQ(cloud.positions[1], std::exp(2.f) - 1);
  EXPECT_FLOAT_EQ(cloud.positions[3], std::exp(1.f) - 1);
  EXPECT_EQ(cloud.positions[4], 0);
  EXPECT_EQ(std::vector<float>(cloud.log_scales.begin(), cloud.log_scales.begin() + 3),
            (std::vector<float>{-8, 0, 7.9375f}));
  EXPECT_NEAR(cloud.quaternions[0], std::sqrt(0.5), 1e-6) << "x is the largest, then w";
  EXPECT_NEAR(cloud.quaternions[1], std::sqrt(0.5), 1e-4);
  EXPECT_NEAR(cloud.quaternions[4], 1, 1e-4);
  EXPECT_EQ(std::vector<float>(cloud.sh_dc.begin(), cloud.sh_dc.begin() + 3), (std::vector<float>{0, 1, -1}));
  EXPECT_GT(cloud.opacity_logits[0], 13);
  EXPECT_LT(cloud.opacity_logits[1], -13);
  // Row 1 of the palette begins at its fourth pixel.
  EXPECT_EQ(cloud.sh_rest[0], 12 / 16.f);
  EXPECT_EQ(cloud.sh_rest[3], 16 / 16.f);
  EXPECT_EQ(cloud.sh_rest[45], 0);
  EXPECT_EQ(cloud.sh_rest[46], 1 / 16.f);
  EXPECT_EQ(cloud.sh_rest[9], 0);
}

TEST_F(HandMadeSog, DamageIsToldInOneSentence) {
  const json whole = meta_;
  const auto with = [&](const char* pointer, const json& value) {
    meta_ = whole;
    meta_[json::json_pointer(pointer)] = value;
    return write();
  };
  EXPECT_ERROR(read(with("/version", 1)), "SOG of version 1");
  EXPECT_ERROR(read(with("/version", 3)), "SOG of version 3");
  EXPECT_ERROR(read(with("/count", 17)), "its 'l.webp' has 16 pixels instead of 17");
  EXPECT_ERROR(read(with("/count", 100000000)), "promises 100000000 Gaussians");
  EXPECT_ERROR(read(with("/count", -1)), "no whole number");
  EXPECT_ERROR(read(with("/means/mins", json::array({0, 0}))), "'mins' in its meta.json is no list of 3");
  EXPECT_ERROR(read(with("/means/maxs", json::array({1e39, 0, 0}))), "is not finite");
  EXPECT_ERROR(read(with("/means/maxs", json::array({1e30, 0, 0}))), "larger than any number");
  EXPECT_ERROR(read(with("/means/files", json::array({"l.webp", "gone.webp"}))),
               "its record 'gone.webp' is missing");
  EXPECT_ERROR(read(with("/means/files", json::array({"l.webp"}))), "lacks a name");
  EXPECT_ERROR(read(with("/scales/codebook", json::array({1, 2}))), "no list of 256");
  EXPECT_ERROR(read(with("/quats", nullptr)), "no 'files'");
  EXPECT_ERROR(read(with("/shN/count", 1)), "harmonics of row 1 of 1");
  EXPECT_ERROR(read(with("/shN/count", 70000)), "no whole number up to 65536");
  EXPECT_ERROR(read(with("/shN/bands", 2)), "pixels");
  meta_ = whole;
  add("q.webp", Picture(1000, 1000, 4));  // a picture far larger than what it is for
  EXPECT_ERROR(read(write()), "a.sog: q.webp");
  const std::string archive = test::read_text(write());
  EXPECT_ERROR(decode_sog(std::as_bytes(std::span(archive)).first(archive.size() / 2), "a.sog"),
               "cannot read 'a.sog'");
  EXPECT_ERROR(decode_sog({}, "a.sog"), "cannot read 'a.sog'");
  ZipWriter empty(folder_ / "empty.sog");
  empty.commit();
  EXPECT_ERROR(read(folder_ / "empty.sog"), "its record 'meta.json' is missing");
}

TEST(Sog, WhatIsLost) {
  test::TemporaryFolder folder;
  for (const int degree : {0, 1, 2, 3}) {
    const GaussianCloud cloud = test::random_cloud(300, degree);
    write_sog(folder / "a.sog", cloud, {});
    const GaussianCloud read_back = read(folder / "a.sog");
    ASSERT_EQ(read_back.count(), 300);
    EXPECT_EQ(sh_degree_of(read_back), degree);
    const test::CloudErrors errors = test::errors_between(cloud, read_back);
    EXPECT_LT(errors.position, 2e-4f);
    EXPECT_LT(errors.log_scale, 0.1f);
    EXPECT_LT(errors.rotation, 4e-5f);
    EXPECT_LT(errors.colour, 6.f);
    EXPECT_LT(errors.opacity, 0.51f / 255);
    EXPECT_LT(errors.harmonic, 0.03f);
  }
}

TEST(Sog, OddClouds) {
  test::TemporaryFolder folder;
  for (const int64_t count : {1, 16, 17}) {
    write_sog(folder / "a.sog", test::random_cloud(count, 3), {});
    EXPECT_EQ(read(folder / "a.sog").count(), count);
  }
  write_sog(folder / "a.sog", test::random_cloud(300, 1), {.palette = 5});
  EXPECT_EQ(sh_degree_of(read(folder / "a.sog")), 1);
}

TEST(Codebook, FewValuesAreTheirOwn) {
  const Codebook codes = codebook_of({3, 1, 2, 1});
  EXPECT_EQ(codes[0], 1);
  EXPECT_EQ(codes[2], 3);
  EXPECT_EQ(codes[255], 3);
  EXPECT_EQ(nearest(codes, 2.2f), 1);
  EXPECT_EQ(nearest(codes, -9), 0);
  EXPECT_EQ(codes[nearest(codes, 99)], 3);
  EXPECT_EQ(codebook_of({})[0], 0);
}

TEST(Codebook, ManyValuesAreWithinAStep) {
  std::vector<float> values(20000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::pow(static_cast<float>(i) / 20000, 3.f);
  const Codebook codes = codebook_of(values);
  EXPECT_TRUE(std::is_sorted(codes.begin(), codes.end()));
  float most = 0;
  for (const float value : values) most = std::max(most, std::abs(value - codes[nearest(codes, value)]));
  EXPECT_LT(most, 0.006f);
}

TEST(Palette, IsTheSameOnAnyNumberOfThreads) {
  const GaussianCloud cloud = test::random_cloud(700, 3);
  const auto palette = [&](int threads) {
    set_thread_count(threads);
    const Palette made = palette_of(cloud.sh_rest, 45, 32, 4);
    set_thread_count(0);
    return made;
  };
  const Palette one = palette(1), two = palette(2);
  EXPECT_EQ(one.rows, two.rows);
  EXPECT_EQ(one.labels, two.labels);
  EXPECT_EQ(one.rows.size(), 32u * 45);
  // Nearer than what it began with.
  const auto error = [&](const Palette& of) {
    double sum = 0;
    for (size_t i = 0; i < cloud.sh_rest.size(); ++i)
      sum += std::pow(cloud.sh_rest[i] - of.rows[of.labels[i / 45] * 45 + i % 45], 2.0);
    return sum;
  };
  EXPECT_LT(error(one), 0.95 * error(palette_of(cloud.sh_rest, 45, 32, 0)));
}

}  // namespace
}  // namespace eg4d::splat
