#include "formats/spz.h"

#include <fmt/format.h>

#include <array>
#include <numbers>

#include "core/error.h"
#include "core/half.h"
#include "formats/compression.h"
#include "formats/splat_numbers.h"
#include "formats/splat_order.h"
#include "io/atomic_file.h"
#include "io/ply_writer.h"

namespace eg4d::splat {
namespace {

constexpr uint32_t kMagic = 0x5053474e;  // NGSP
constexpr size_t kGzipHeader = 16, kZstdHeader = 32, kTocEntry = 16;
constexpr int kHasExtensions = 2;  // flag
constexpr int kMaxFractionalBits = 23;
constexpr float kColourScale = 0.15f;
constexpr float kMagnitudes = 511;  // of a quaternion's component
constexpr int kLevel = 19;          // of zstd
// No file of real Gaussians is that small: what promises more would only take memory.
constexpr uint64_t kMostPerByte = 4;

struct Header {
  uint32_t version = 0, count = 0;
  int degree = 0, fractional_bits = 0, flags = 0;
  // Version 4.
  size_t streams = 0;
  uint32_t toc = 0;
};

Error failure(const std::string& name, const std::string& what) {
  return Error(fmt::format("cannot read '{}': {}", name, what));
}

bool is_zstd(Bytes file) {
  return file.size() >= 4 && get<uint32_t>(file, 0) == kMagic;
}

size_t harmonics_of(int degree) {
  return static_cast<size_t>((degree + 1) * (degree + 1) - 1);
}

Header parse_header(Bytes bytes, uint64_t file_size, const std::string& name) {
  Header header;
  header.version = get<uint32_t>(bytes, 4);
  header.count = get<uint32_t>(bytes, 8);
  header.degree = static_cast<int>(bytes[12]);
  header.fractional_bits = static_cast<int>(bytes[13]);
  header.flags = static_cast<int>(bytes[14]);
  if (get<uint32_t>(bytes, 0) != kMagic) throw failure(name, "it is no .spz file");
  const bool zstd_version = bytes.size() >= kZstdHeader;
  if (zstd_version ? header.version != 4 : header.version < 1 || header.version > 3)
    throw failure(name, fmt::format("it is a .spz of version {}; versions 1 to 4 are known", header.version));
  if (header.degree > 4)
    throw failure(name, fmt::format("its harmonics are of degree {}; at most 4 is possible", header.degree));
  if (header.fractional_bits > kMaxFractionalBits)
    throw failure(name, fmt::format("its positions have {} fractional bits; at most {} are possible",
                                    header.fractional_bits, kMaxFractionalBits));
  if (header.count > file_size * kMostPerByte)
    throw failure(name, fmt::format("it promises {} Gaussians, which its {} bytes cannot hold", header.count,
                                    file_size));
  if (zstd_version) {
    header.streams = static_cast<size_t>(bytes[15]);
    header.toc = get<uint32_t>(bytes, 16);
  }
  return header;
}

// The arrays, in the order of the file.
enum Attribute { kPositions, kAlphas, kColours, kScales, kRotations, kHarmonics, kAttributes };
using Arrays = std::array<std::string, kAttributes>;

std::array<size_t, kAttributes> bytes_each(uint32_t version, int degree) {
  return {version == 1 ? size_t{6} : size_t{9},
          1,
          3,
          3,
          version >= 3 ? size_t{4} : size_t{3},
          harmonics_of(degree) * 3};
}

Arrays read_gzip(Bytes file, Header& header, const std::string& name) {
  bool ended = false;
  const std::string start = gunzip(file, kGzipHeader, ended, name);
  if (start.size() < kGzipHeader) throw failure(name, "it is no .spz file or truncated");
  header = parse_header(std::as_bytes(std::span(start)), file.size(), name);
  const auto each = bytes_each(header.version, header.degree);
  size_t size = kGzipHeader;
  for (const size_t bytes : each) size += bytes * header.count;
  const std::string all = gunzip(file, size, ended, name);
  if (all.size() < size)
    throw failure(name, fmt::format("it holds {} of the {} bytes of {} Gaussians; it is truncated",
                                    all.size(), size, header.count));
  if (!ended && !(header.flags & kHasExtensions))
    throw failure(name, fmt::format("it holds more than its {} Gaussians", header.count));
  Arrays arrays;
  size_t at = kGzipHeader;
  for (size_t i = 0; i < kAttributes; ++i) {
    arrays[i] = all.substr(at, each[i] * header.count);
    at += each[i] * header.count;
  }
  return arrays;
}

Arrays read_zstd(Bytes file, Header& header, const std::string& name) {
  if (file.size() < kZstdHeader) throw failure(name, "it is truncated");
  header = parse_header(file.first(kZstdHeader), file.size(), name);
  const auto each = bytes_each(header.version, header.degree);
  // Empty arrays have no stream.
  size_t streams = 0;
  for (const size_t bytes : each) streams += bytes > 0 && header.count > 0 ? 1 : 0;
  if (header.streams != streams || header.toc < kZstdHeader || header.toc > file.size() ||
      (file.size() - header.toc) / kTocEntry < streams)
    throw failure(name, "its table of contents is damaged");
  Arrays arrays;
  size_t entry = header.toc, at = header.toc + streams * kTocEntry;
  for (size_t i = 0; i < kAttributes; ++i) {
    const uint64_t size = uint64_t{each[i]} * header.count;
    if (size == 0) continue;
    const auto packed = get<uint64_t>(file, entry), promised = get<uint64_t>(file, entry + 8);
    entry += kTocEntry;
    if (promised != size || packed > file.size() - at)
      throw failure(name, fmt::format("its array {} is damaged or truncated", i));
    arrays[i] = unzstd(file.subspan(at, packed), size, name);
    at += packed;
  }
  return arrays;
}

float unpack_coordinate(Bytes bytes, size_t at, int fractional_bits) {
  auto bits = static_cast<uint32_t>(bytes[at]) | static_cast<uint32_t>(bytes[at + 1]) << 8 |
              static_cast<uint32_t>(bytes[at + 2]) << 16;
  if (bits & 0x800000) bits |= 0xff000000;
  return std::ldexp(static_cast<float>(static_cast<int32_t>(bits)), -fractional_bits);
}

// To w, x, y, z.
std::array<float, 4> unpack_rotation(Bytes bytes, size_t i, bool smallest) {
  if (!smallest) {
    float q[4], rest = 1;
    for (size_t k = 0; k < 3; ++k) {
      q[k + 1] = static_cast<float>(bytes[3 * i + k]) / 127.5f - 1;
      rest -= q[k + 1] * q[k + 1];
    }
    q[0] = std::sqrt(std::max(rest, 0.f));
    return {q[0], q[1], q[2], q[3]};
  }
  auto bits = get<uint32_t>(bytes, 4 * i);
  SmallestThree packed;
  packed.largest = bits >> 30;
  for (size_t k = 0; k < 3; ++k) {
    const auto magnitude = static_cast<float>(bits & 511) / kMagnitudes / std::numbers::sqrt2_v<float>;
    packed.others[2 - k] = bits & 512 ? -magnitude : magnitude;
    bits >>= 10;
  }
  const auto q = from_smallest_three(packed);  // x, y, z, w
  return {q[3], q[0], q[1], q[2]};
}

uint32_t pack_rotation(const float* quaternion) {
  const auto q = unit_quaternion(quaternion);
  const SmallestThree packed = smallest_three({q[1], q[2], q[3], q[0]});
  auto bits = static_cast<uint32_t>(packed.largest);
  for (const float other : packed.others)
    bits =
        bits << 10 | (other < 0 ? 512u : 0u) | to_level(std::abs(other) * std::numbers::sqrt2_v<float>, 511);
  return bits;
}

uint8_t pack_harmonic(float value, int bits) {
  const int step = 1 << (8 - bits);
  const float level = std::isnan(value) ? 128 : std::clamp(std::round(value * 128) + 128, 0.f, 255.f);
  const int rounded = (static_cast<int>(level) + step / 2) / step * step;
  return static_cast<uint8_t>(std::min(rounded, 255));
}

// So many that the error is not larger than asked for, as far as 24 bits hold the largest coordinate.
int fractional_bits_for(const GaussianCloud& cloud, float largest_error, const std::filesystem::path& path) {
  float extent = 0;
  for (const float x : cloud.positions) extent = std::max(extent, std::abs(x));
  const float error = largest_error > 0 ? largest_error : extent / 8192;
  int bits = 0;
  while (bits < kMaxFractionalBits && std::ldexp(0.5f, -bits) > error) ++bits;
  while (bits > 0 && std::ldexp(extent, bits) > 8388607.f) --bits;
  if (extent > 8388607.f)
    throw Error(fmt::format("cannot write '{}': .spz holds coordinates up to 8388607, and the largest is {}",
                            path.string(), extent));
  return bits;
}

}  // namespace

GaussianCloud decode_spz(Bytes file, const std::string& name) {
  Header header;
  const Arrays arrays = is_zstd(file) ? read_zstd(file, header, name) : read_gzip(file, header, name);
  const auto bytes_of = [&](Attribute attribute) { return std::as_bytes(std::span(arrays[attribute])); };
  const Bytes positions = bytes_of(kPositions), alphas = bytes_of(kAlphas), colours = bytes_of(kColours);
  const Bytes scales = bytes_of(kScales), rotations = bytes_of(kRotations), harmonics = bytes_of(kHarmonics);
  const size_t count = header.count, stored = harmonics_of(header.degree) * 3;
  const size_t kept = std::min(stored, kRest);

  GaussianCloud cloud(static_cast<int64_t>(count));
  for (size_t i = 0; i < count * 3; ++i) {
    const float value = header.version == 1 ? half_to_float(get<uint16_t>(positions, 2 * i))
                                            : unpack_coordinate(positions, 3 * i, header.fractional_bits);
    if (!std::isfinite(value))
      throw failure(name, fmt::format("Gaussian {} has a position that is not a finite number", i / 3));
    cloud.positions[i] = value;
    cloud.log_scales[i] = static_cast<float>(scales[i]) / 16 - 10;
    cloud.sh_dc[i] = (static_cast<float>(colours[i]) / 255 - 0.5f) / kColourScale;
  }
  for (size_t i = 0; i < count; ++i) {
    cloud.opacity_logits[i] = logit(static_cast<float>(alphas[i]) / 255);
    const auto q = unpack_rotation(rotations, i, header.version >= 3);
    std::copy(q.begin(), q.end(), &cloud.quaternions[4 * i]);
    for (size_t k = 0; k < kept; ++k)
      cloud.sh_rest[kRest * i + k] = (static_cast<float>(harmonics[i * stored + k]) - 128) / 128;
  }
  return cloud;
}

int spz_version(Bytes file) {
  try {
    bool ended = false;
    if (is_zstd(file)) return file.size() < 8 ? 0 : static_cast<int>(get<uint32_t>(file, 4));
    const std::string start = gunzip(file, kGzipHeader, ended, "");
    return start.size() < 8 ? 0 : static_cast<int>(get<uint32_t>(std::as_bytes(std::span(start)), 4));
  } catch (const Error&) {
    return 0;
  }
}

void write_spz(const std::filesystem::path& path, const GaussianCloud& cloud, const SpzOptions& options) {
  check_shapes(cloud, path);
  const int degree = sh_degree_of(cloud),
            fractional_bits = fractional_bits_for(cloud, options.largest_error, path);
  Arrays arrays;
  for (const uint32_t i : morton_order(cloud)) {
    for (size_t k = 0; k < 3; ++k) {
      const float x = std::ldexp(cloud.positions[3 * i + k], fractional_bits);
      const auto bits = static_cast<uint32_t>(static_cast<int32_t>(std::lround(x)));
      for (int byte = 0; byte < 3; ++byte) arrays[kPositions].push_back(static_cast<char>(bits >> 8 * byte));
      put(arrays[kColours], to_byte((cloud.sh_dc[3 * i + k] * kColourScale + 0.5f) * 255));
      put(arrays[kScales], to_byte((cloud.log_scales[3 * i + k] + 10) * 16));
    }
    put(arrays[kAlphas], to_byte(sigmoid(cloud.opacity_logits[i]) * 255));
    put(arrays[kRotations], pack_rotation(&cloud.quaternions[4 * i]));
    for (size_t k = 0; k < harmonics_of(degree) * 3; ++k)
      put(arrays[kHarmonics], pack_harmonic(cloud.sh_rest[kRest * i + k], options.sh_bits));
  }

  std::string header;
  put(header, kMagic);
  put(header, static_cast<uint32_t>(options.version));
  put(header, static_cast<uint32_t>(cloud.count()));
  put(header, static_cast<uint8_t>(degree));
  put(header, static_cast<uint8_t>(fractional_bits));
  put(header, uint8_t{0});  // flags
  if (options.version == 3) {
    put(header, uint8_t{0});
    for (const std::string& array : arrays) header += array;
    write_file_atomically(path, gzip(header));
    return;
  }
  std::string toc, streams;
  for (const std::string& array : arrays) {
    if (array.empty()) continue;
    const std::string packed = zstd(array, kLevel);
    put(toc, uint64_t{packed.size()});
    put(toc, uint64_t{array.size()});
    streams += packed;
  }
  put(header, static_cast<uint8_t>(toc.size() / kTocEntry));
  put(header, static_cast<uint32_t>(kZstdHeader));
  header.resize(kZstdHeader, '\0');
  write_file_atomically(path, header + toc + streams);
}

}  // namespace eg4d::splat
