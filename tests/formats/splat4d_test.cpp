#include "formats/splat4d.h"

#include <gtest/gtest.h>

#include <array>
#include <nlohmann/json.hpp>

#include "formats/compression.h"
#include "formats/splat_numbers.h"
#include "support/expect_error.h"
#include "support/random_cloud.h"
#include "support/temporary_folder.h"

namespace eg4d::splat {
namespace {

constexpr size_t kChannels[] = {3, 4, 3, 1, 3};
constexpr const char* kSteps[] = {"pos", "rot", "rgb", "alpha", "scale_log"};

int32_t unzigzag(uint32_t z) {
  return static_cast<int32_t>(z >> 1) ^ -static_cast<int32_t>(z & 1);
}

// A reader after docs/FORMAT.md, plain and trusting.
class Reader {
 public:
  explicit Reader(const std::string& file) : file_(file) {
    EXPECT_EQ(file.substr(0, 8), std::string("SP4D\1\0\0\0", 8));
    header = nlohmann::json::parse(file.substr(12, get<uint32_t>(bytes(), 8)));
    count = header["n"];
    size_t at = header["static_section"]["offset"];
    EXPECT_EQ(at, 12u + get<uint32_t>(bytes(), 8));
    const auto next = [&](int attribute) {
      EXPECT_EQ(file_[at], attribute);
      EXPECT_EQ(file_[at + 1], 2);
      return stream(at);
    };
    for (int a = 0; a < 5; ++a) {
      const std::vector<uint32_t> bits = next(a);
      for (size_t i = 0; i < count; ++i) stands[a].push_back(bits[i / 8] >> (7 - i % 8) & 1);
    }
    const auto summed = [&](std::vector<uint32_t> symbols) {
      std::vector<double> values(symbols.size());
      for (size_t i = 0; i < values.size(); ++i)
        values[i] = unzigzag(symbols[i]) + (i >= 3 ? values[i - 3] : 0);
      return values;
    };
    base[0] = summed(next(0));
    base[4] = summed(next(4));
    for (const int a : {2, 3, 1})
      for (const uint32_t symbol : next(a))
        base[a].push_back(static_cast<double>(symbol) - (a == 1 ? 128 : 0));
    for (double& value : base[0]) value *= header["steps"]["base_pos"].get<double>();
    for (double& value : base[4]) value *= header["steps"]["base_scale_log"].get<double>();
    EXPECT_EQ(at, header["gops"][0]["offset"]);
  }

  // Attribute a of all Gaussians at a frame, in the file's order.
  std::vector<double> values(int a, int frame) {
    std::vector<double> result = base[a];
    const int gop = header["gop"];
    const auto& span = header["gops"][static_cast<size_t>(frame / gop)];
    size_t toc = span["offset"].get<size_t>() + 2;
    const size_t streams = get<uint16_t>(bytes(), toc - 2);
    size_t payload = toc + 11 * streams;
    std::vector<int32_t> bins;
    for (size_t s = 0; s < streams; ++s, toc += 11) {
      const int attribute = file_[toc], kind = file_[toc + 1];
      const std::vector<uint32_t> symbols = unpack(toc, payload);
      payload += get<uint32_t>(bytes(), toc + 7);
      if (attribute != a) continue;
      if (kind == 0)
        for (const uint32_t symbol : symbols) bins.push_back(unzigzag(symbol));
      else
        for (size_t i = 0; i < bins.size() * static_cast<size_t>(frame % gop); ++i)
          bins[i % bins.size()] += unzigzag(symbols[i]);
    }
    const double step = header["steps"][kSteps[a]];
    for (size_t i = 0, at = 0; i < count; ++i)
      for (size_t k = 0; !stands[a][i] && k < kChannels[a]; ++k)
        result[i * kChannels[a] + k] = bins[at++] * step;
    return result;
  }

  nlohmann::json header;
  size_t count = 0;
  std::array<std::vector<uint8_t>, 5> stands;
  std::array<std::vector<double>, 5> base;

 private:
  Bytes bytes() const { return std::as_bytes(std::span(file_)); }
  std::vector<uint32_t> unpack(size_t header_at, size_t payload) const {
    const size_t width = static_cast<uint8_t>(file_[header_at + 2]);
    const size_t symbols = get<uint32_t>(bytes(), header_at + 3),
                 packed = get<uint32_t>(bytes(), header_at + 7);
    const std::string planes = unzstd(bytes().subspan(payload, packed), symbols * width, "test");
    std::vector<uint32_t> result(symbols, 0);
    for (size_t i = 0; i < symbols * width; ++i)
      result[i % symbols] |= static_cast<uint32_t>(static_cast<uint8_t>(planes[i])) << 8 * (i / symbols);
    return result;
  }
  std::vector<uint32_t> stream(size_t& at) const {
    auto result = unpack(at, at + 11);
    at += 11 + get<uint32_t>(bytes(), at + 7);
    return result;
  }
  const std::string& file_;
};

// A third stands still, a third moves, a third moves and changes colour, opacity and size.
GaussianCloud frame_of(int frame) {
  GaussianCloud cloud = test::random_cloud(60, 0);
  for (size_t i = 20; i < 60; ++i) {
    const float phase = 0.1f * static_cast<float>(frame * static_cast<int>(i % 5));
    cloud.positions[3 * i] += std::sin(phase);
    cloud.quaternions[4 * i + 1] += phase;
    if (i < 40) continue;
    cloud.sh_dc[3 * i + 1] += 0.3f * phase;
    cloud.opacity_logits[i] -= phase;
    cloud.log_scales[3 * i + 2] += phase / 3;
  }
  return cloud;
}

TEST(Splat4d, EveryValueOfEveryFrameIsWithinItsBound) {
  test::TemporaryFolder folder;
  const SplatSequence sequence = {.frames = 7, .fps = 12, .at = frame_of};
  const Splat4dOptions options = {.position_bound = 0.003,
                                  .colour_bound = 3,
                                  .opacity_bound = 1,
                                  .rotation_bound = 1,
                                  .frames_per_chunk = 3};
  write_splat4d(folder / "a.splat4d", sequence, options);
  const std::string file = test::read_text(folder / "a.splat4d");
  Reader reader(file);
  ASSERT_EQ(reader.count, 60u);
  EXPECT_EQ(reader.header["t"], 7);
  EXPECT_EQ(reader.header["fps"], 12);
  ASSERT_EQ(reader.header["gops"].size(), 3u);
  EXPECT_EQ(reader.header["gops"][2]["f0"], 6);
  EXPECT_EQ(reader.header["gops"][2]["offset"].get<size_t>() + reader.header["gops"][2]["len"].get<size_t>(),
            file.size());
  EXPECT_GE(std::count(reader.stands[0].begin(), reader.stands[0].end(), 1), 20);
  EXPECT_LT(std::count(reader.stands[0].begin(), reader.stands[0].end(), 1), 40);
  int grouped = 0;
  for (const auto& group : reader.header["groups"]) grouped += group["count"].get<int>();
  EXPECT_EQ(grouped, 60);

  // The order of the file, by the first frame's positions.
  const std::vector<double> first = reader.values(0, 0);
  GaussianCloud found(60);
  std::copy(first.begin(), first.end(), found.positions.begin());
  const std::vector<size_t> row = test::matches(frame_of(0), found);
  for (int frame = 0; frame < 7; ++frame) {
    const GaussianCloud cloud = frame_of(frame);
    std::array<std::vector<double>, 5> values;
    for (int a = 0; a < 5; ++a) values[a] = reader.values(a, frame);
    for (size_t i = 0; i < 60; ++i) {
      const auto q = unit_quaternion(&cloud.quaternions[4 * i]);
      double same = 0, opposite = 0;
      for (size_t k = 0; k < 4; ++k) {
        const double level = to_byte(q[k] * 128 + 128) - 128;
        same = std::max(same, std::abs(values[1][4 * row[i] + k] - level));
        opposite = std::max(opposite, std::abs(values[1][4 * row[i] + k] + level));
      }
      EXPECT_LE(std::min(same, opposite), 2) << "of which 1 is where -128 has no opposite";
      for (size_t k = 0; k < 3; ++k) {
        EXPECT_NEAR(values[0][3 * row[i] + k], cloud.positions[3 * i + k], 0.003001);
        EXPECT_NEAR(values[4][3 * row[i] + k], cloud.log_scales[3 * i + k], std::log(1.02) + 1e-6);
        EXPECT_NEAR(values[2][3 * row[i] + k], to_byte((0.5f + kSh0 * cloud.sh_dc[3 * i + k]) * 255), 3);
      }
      EXPECT_NEAR(values[3][row[i]], to_byte(sigmoid(cloud.opacity_logits[i]) * 255), 1);
    }
  }
}

TEST(Splat4d, WhatStandsStillCostsNothingMore) {
  test::TemporaryFolder folder;
  const auto still = [](int) { return test::random_cloud(100, 0); };
  write_splat4d(folder / "one", {.frames = 1, .at = still}, {});
  write_splat4d(folder / "many", {.frames = 200, .at = still}, {});
  EXPECT_LT(std::filesystem::file_size(folder / "many"), std::filesystem::file_size(folder / "one") + 800)
      << "the list of chunks";
}

TEST(Splat4d, ABoundThatIsTooSmallIsRefused) {
  test::TemporaryFolder folder;
  EXPECT_ERROR(write_splat4d(folder / "a", {.frames = 1, .at = frame_of}, {.position_bound = 1e-12}),
               "position bound");
}

}  // namespace
}  // namespace eg4d::splat
