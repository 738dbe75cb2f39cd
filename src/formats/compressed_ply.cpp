#include "formats/compressed_ply.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <numbers>

#include "core/error.h"
#include "formats/splat_numbers.h"
#include "formats/splat_order.h"
#include "io/atomic_file.h"
#include "io/ply_table.h"
#include "io/ply_writer.h"

namespace eg4d::splat {
namespace {

constexpr size_t kChunk = 256;       // Gaussians
constexpr size_t kColourRanges = 6;  // floats of a chunk that early files lack
constexpr float kLargest = 1e30f;    // of a range: what is made of it must be a number, too
constexpr float kShRange = 8;        // of a byte of harmonics: -4 … 4
constexpr const char* kChunkProperties[] = {
    "min_x",       "min_y",       "min_z",       "max_x",       "max_y",       "max_z",
    "min_scale_x", "min_scale_y", "min_scale_z", "max_scale_x", "max_scale_y", "max_scale_z",
    "min_r",       "min_g",       "min_b",       "max_r",       "max_g",       "max_b"};
constexpr const char* kVertexProperties[] = {"packed_position", "packed_rotation", "packed_scale",
                                             "packed_color"};

Error failure(const std::string& name, const std::string& what) {
  return Error(fmt::format("cannot read '{}': {}", name, what));
}

// The rows of an element that has just these properties, in this order, of one type.
Bytes rows_of(const PlyTable& table, const std::string& name, const char* element, PlyTable::Type type,
              size_t width, const std::function<std::string(size_t)>& property) {
  bool fits = table.properties().size() == width;
  for (size_t i = 0; fits && i < width; ++i)
    fits = table.properties()[i].name == property(i) && table.properties()[i].type == type;
  const auto rows = table.binary_rows();
  if (!fits || !rows)
    throw failure(name, fmt::format("its element '{}' is not what a compressed PLY has there", element));
  return *rows;
}

struct Three {
  float x, y, z;
};

Three unpack_11_10_11(uint32_t bits) {
  return {static_cast<float>(bits >> 21) / 2047, static_cast<float>(bits >> 11 & 1023) / 1023,
          static_cast<float>(bits & 2047) / 2047};
}

uint32_t pack_11_10_11(float x, float y, float z) {
  return to_level(x, 2047) << 21 | to_level(y, 1023) << 11 | to_level(z, 2047);
}

// Three values at `to`, each a share of its own range.
void put_in_ranges(float* to, Three share, const float* low, const float* high) {
  const float shares[] = {share.x, share.y, share.z};
  for (size_t i = 0; i < 3; ++i) to[i] = low[i] * (1 - shares[i]) + high[i] * shares[i];
}

float share_of(float value, float low, float high) {
  return high > low ? (value - low) / (high - low) : 0;
}

std::array<float, 4> unpack_rotation(uint32_t bits) {
  SmallestThree packed;
  packed.largest = bits >> 30;
  for (size_t i = 0; i < 3; ++i) {
    const auto level = static_cast<float>(bits >> (20 - 10 * i) & 1023);
    packed.others[i] = (level / 1023 - 0.5f) * std::numbers::sqrt2_v<float>;
  }
  return from_smallest_three(packed);
}

uint32_t pack_rotation(const float* quaternion) {
  const SmallestThree packed = smallest_three(unit_quaternion(quaternion));
  auto bits = static_cast<uint32_t>(packed.largest);
  for (const float other : packed.others)
    bits = bits << 10 | to_level(other / std::numbers::sqrt2_v<float> + 0.5f, 1023);
  return bits;
}

// Nine values of a chunk's Gaussians: position, log-scale (which may be infinite elsewhere), colour.
std::array<float, 9> ranged_values(const GaussianCloud& cloud, size_t i) {
  std::array<float, 9> values{};
  for (size_t k = 0; k < 3; ++k) {
    values[k] = cloud.positions[3 * i + k];
    values[3 + k] = std::clamp(cloud.log_scales[3 * i + k], -20.f, 20.f);
    values[6 + k] = 0.5f + kSh0 * cloud.sh_dc[3 * i + k];
  }
  return values;
}

}  // namespace

bool is_compressed_ply(Bytes file) {
  return PlyTable::has_element(file, "chunk");
}

GaussianCloud decode_compressed_ply(Bytes file, const std::string& name) {
  const PlyTable chunks(file, name, "chunk"), vertices(file, name, "vertex");
  const size_t ranges = chunks.properties().size() == std::size(kChunkProperties) - kColourRanges ? 12 : 18;
  const Bytes chunk_rows = rows_of(chunks, name, "chunk", PlyTable::Type::f32, ranges,
                                   [](size_t i) { return kChunkProperties[i]; });
  const Bytes packed = rows_of(vertices, name, "vertex", PlyTable::Type::u32, 4,
                               [](size_t i) { return kVertexProperties[i]; });
  const auto count = static_cast<size_t>(vertices.rows());
  if (static_cast<size_t>(chunks.rows()) != (count + kChunk - 1) / kChunk)
    throw failure(name, fmt::format("it has {} chunks for {} Gaussians", chunks.rows(), count));

  Bytes harmonics;
  size_t rest = 0;
  if (PlyTable::has_element(file, "sh")) {
    const PlyTable table(file, name, "sh");
    rest = table.properties().size();
    if (rest != 9 && rest != 24 && rest != 45)
      throw failure(name, fmt::format("{} bytes of harmonics fit no degree (9, 24 or 45 do)", rest));
    if (static_cast<size_t>(table.rows()) != count)
      throw failure(name, fmt::format("it has harmonics of {} of {} Gaussians", table.rows(), count));
    harmonics = rows_of(table, name, "sh", PlyTable::Type::u8, rest,
                        [](size_t i) { return "f_rest_" + std::to_string(i); });
  }

  GaussianCloud cloud(static_cast<int64_t>(count));
  std::array<float, 18> range{};
  std::fill(range.begin() + 15, range.end(), 1.f);  // of colours, where the file has none
  for (size_t i = 0; i < count; ++i) {
    if (i % kChunk == 0)
      for (size_t k = 0; k < ranges; ++k) {
        range[k] = get<float>(chunk_rows, (i / kChunk * ranges + k) * sizeof(float));
        if (!(std::abs(range[k]) <= kLargest))
          throw failure(name, fmt::format("chunk {} has a '{}' that is not a finite number, or too large",
                                          i / kChunk, kChunkProperties[k]));
      }
    const size_t row = i * 4 * sizeof(uint32_t);
    const auto word = [&](size_t k) { return get<uint32_t>(packed, row + k * sizeof(uint32_t)); };
    put_in_ranges(&cloud.positions[3 * i], unpack_11_10_11(word(0)), &range[0], &range[3]);
    put_in_ranges(&cloud.log_scales[3 * i], unpack_11_10_11(word(2)), &range[6], &range[9]);
    const auto q = unpack_rotation(word(1));
    std::copy(q.begin(), q.end(), &cloud.quaternions[4 * i]);
    const uint32_t colour = word(3);
    const auto share = [&](int shift) { return static_cast<float>(colour >> shift & 255) / 255; };
    put_in_ranges(&cloud.sh_dc[3 * i], {share(24), share(16), share(8)}, &range[12], &range[15]);
    for (size_t k = 0; k < 3; ++k) cloud.sh_dc[3 * i + k] = (cloud.sh_dc[3 * i + k] - 0.5f) / kSh0;
    cloud.opacity_logits[i] = logit(share(0));
    for (size_t k = 0; k < rest; ++k) {
      const auto level = static_cast<float>(harmonics[i * rest + k]);
      const float in_unit = level == 0 ? 0 : level == 255 ? 1 : (level + 0.5f) / 256;
      const size_t per_channel = rest / 3;
      cloud.sh_rest[kRest * i + k % per_channel * 3 + k / per_channel] = (in_unit - 0.5f) * kShRange;
    }
  }
  return cloud;
}

void write_compressed_ply(const std::filesystem::path& path, const GaussianCloud& cloud) {
  check_shapes(cloud, path);
  const std::vector<uint32_t> order = morton_order(cloud);
  const size_t count = order.size(), chunks = (count + kChunk - 1) / kChunk;
  const auto degree = static_cast<size_t>(sh_degree_of(cloud));
  const size_t per_channel = (degree + 1) * (degree + 1) - 1;

  std::string header = fmt::format(
      "ply\nformat binary_little_endian 1.0\ncomment written by eg4d\nelement chunk {}\n", chunks);
  for (const char* property : kChunkProperties) header += fmt::format("property float {}\n", property);
  header += fmt::format("element vertex {}\n", count);
  for (const char* property : kVertexProperties) header += fmt::format("property uint {}\n", property);
  if (per_channel > 0) header += fmt::format("element sh {}\n", count);
  for (size_t i = 0; i < per_channel * 3; ++i) header += fmt::format("property uchar f_rest_{}\n", i);

  std::string ranges, packed, harmonics;
  for (size_t begin = 0; begin < count; begin += kChunk) {
    const size_t end = std::min(begin + kChunk, count);
    std::array<float, 9> low = ranged_values(cloud, order[begin]), high = low;
    for (size_t i = begin; i < end; ++i) {
      const auto values = ranged_values(cloud, order[i]);
      for (size_t k = 0; k < 9; ++k) {
        low[k] = std::min(low[k], values[k]);
        high[k] = std::max(high[k], values[k]);
      }
    }
    for (size_t three = 0; three < 9; three += 3) {
      for (size_t k = 0; k < 3; ++k) put(ranges, low[three + k]);
      for (size_t k = 0; k < 3; ++k) put(ranges, high[three + k]);
    }
    for (size_t i = begin; i < end; ++i) {
      const size_t row = order[i];
      std::array<float, 9> share = ranged_values(cloud, row);
      for (size_t k = 0; k < 9; ++k) share[k] = share_of(share[k], low[k], high[k]);
      put(packed, pack_11_10_11(share[0], share[1], share[2]));
      put(packed, pack_rotation(&cloud.quaternions[4 * row]));
      put(packed, pack_11_10_11(share[3], share[4], share[5]));
      put(packed, to_level(share[6], 255) << 24 | to_level(share[7], 255) << 16 |
                      to_level(share[8], 255) << 8 | to_level(sigmoid(cloud.opacity_logits[row]), 255));
      for (size_t k = 0; k < per_channel * 3; ++k) {
        const float value = cloud.sh_rest[kRest * row + k % per_channel * 3 + k / per_channel];
        const float level = (value / kShRange + 0.5f) * 256;
        harmonics.push_back(static_cast<char>(level > 0 ? static_cast<uint8_t>(std::min(level, 255.f)) : 0));
      }
    }
  }
  AtomicFile file(path);
  file.write(header + "end_header\n");
  file.write(ranges);
  file.write(packed);
  file.write(harmonics);
  file.commit();
}

}  // namespace eg4d::splat
