#include "formats/sog.h"

#include <fmt/format.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <numbers>

#include "core/error.h"
#include "core/version.h"
#include "formats/codebook.h"
#include "formats/splat_numbers.h"
#include "formats/splat_order.h"
#include "io/image_codecs.h"
#include "io/json_file.h"
#include "io/ply_writer.h"
#include "io/zip_reader.h"
#include "io/zip_writer.h"

namespace eg4d::splat {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxMeta = 1 << 20;
constexpr uint64_t kMostPerByte = 4;  // Gaussians: see spz.cpp
constexpr size_t kPaletteColumns = 64;
constexpr size_t kMaxPalette = 65536;
constexpr int kFirstTag = 252;  // of the largest component

float log_of(float x) {
  return std::copysign(std::log1p(std::abs(x)), x);
}

float from_log(float x) {
  return std::copysign(std::expm1(std::abs(x)), x);
}

// ---------------------------------------------------------------- reading

class SogReader {
 public:
  SogReader(Bytes file, const std::string& name) : name_(name), zip_(file, name) {
    const ZipReader::Record record = zip_.read("meta.json", kMaxMeta);
    meta_ = parse_json({reinterpret_cast<const char*>(record.data.get()), record.size},
                       fmt::format("meta.json of '{}'", name));
    const int64_t version =
        meta_.is_object() && meta_.contains("version") ? whole(meta_, "version", 1000) : 1;
    if (version != 2)
      fail(fmt::format("it is SOG of version {}; only version 2 is read, and SplatTransform converts",
                       version));
    count_ = static_cast<size_t>(whole(meta_, "count", int64_t{1} << 31));
    if (count_ > file.size() * kMostPerByte)
      fail(fmt::format("it promises {} Gaussians, which its {} bytes cannot hold", count_, file.size()));
  }

  GaussianCloud read() {
    GaussianCloud cloud(static_cast<int64_t>(count_));
    read_positions(cloud);
    read_rotations(cloud);
    read_scales(cloud);
    read_colours(cloud);
    if (meta_.contains("shN")) read_harmonics(cloud);
    return cloud;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(fmt::format("cannot read '{}': {}", name_, what));
  }

  const json& member(const json& object, const char* key) const {
    if (!object.is_object() || !object.contains(key)) fail(fmt::format("its meta.json has no '{}'", key));
    return object[key];
  }

  int64_t whole(const json& object, const char* key, int64_t most) const {
    const json& value = member(object, key);
    if (!value.is_number_integer() || value < 0 || value > most)
      fail(fmt::format("'{}' in its meta.json is no whole number up to {}", key, most));
    return value.get<int64_t>();
  }

  std::vector<float> numbers(const json& object, const char* key, size_t count) const {
    const json& list = member(object, key);
    if (!list.is_array() || list.size() != count)
      fail(fmt::format("'{}' in its meta.json is no list of {} numbers", key, count));
    std::vector<float> values;
    for (const json& value : list) {
      values.push_back(value.is_number() ? value.get<float>() : NAN);
      if (!std::isfinite(values.back())) fail(fmt::format("'{}' in its meta.json is not finite", key));
    }
    return values;
  }

  // Four channels, whatever the file has.
  Picture picture(const json& part, size_t index, size_t pixels) const {
    const json& files = member(part, "files");
    if (!files.is_array() || files.size() <= index || !files[index].is_string())
      fail("'files' in its meta.json lacks a name");
    const auto file = files[index].get<std::string>();
    // Pictures may be padded; far larger ones would only take memory.
    const auto most = static_cast<int64_t>(pixels * 4 + 65536);
    const ZipReader::Record record = zip_.read(file, uint64_t{1} << 31);
    Picture picture = codecs::decode_webp(record.bytes(), name_ + ": " + file, {.max_pixels = most});
    const auto size = static_cast<size_t>(picture.width) * static_cast<size_t>(picture.height);
    if (size < pixels) fail(fmt::format("its '{}' has {} pixels instead of {}", file, size, pixels));
    if (picture.channels == 4) return picture;
    Picture full(picture.width, picture.height, 4);
    for (size_t i = 0; i < size; ++i) {
      std::copy_n(&picture.data[3 * i], 3, &full.data[4 * i]);
      full.data[4 * i + 3] = 255;
    }
    return full;
  }

  void read_positions(GaussianCloud& cloud) {
    const json& means = member(meta_, "means");
    const std::vector<float> low = numbers(means, "mins", 3), high = numbers(means, "maxs", 3);
    const Picture lower = picture(means, 0, count_), upper = picture(means, 1, count_);
    for (size_t i = 0; i < count_ * 3; ++i) {
      const size_t axis = i % 3, pixel = i / 3 * 4 + axis;
      const float share = static_cast<float>(lower.data[pixel] | upper.data[pixel] << 8) / 65535;
      cloud.positions[i] = from_log(low[axis] * (1 - share) + high[axis] * share);
      if (!std::isfinite(cloud.positions[i])) fail("its positions are larger than any number");
    }
  }

  void read_rotations(GaussianCloud& cloud) {
    const Picture quats = picture(member(meta_, "quats"), 0, count_);
    for (size_t i = 0; i < count_; ++i) {
      const uint8_t* pixel = &quats.data[4 * i];
      std::array<float, 4> q = {1, 0, 0, 0};
      if (pixel[3] >= kFirstTag) {
        SmallestThree packed;
        packed.largest = pixel[3] - kFirstTag;
        for (size_t k = 0; k < 3; ++k)
          packed.others[k] = (static_cast<float>(pixel[k]) / 255 * 2 - 1) / std::numbers::sqrt2_v<float>;
        q = from_smallest_three(packed);
      }
      std::copy(q.begin(), q.end(), &cloud.quaternions[4 * i]);
    }
  }

  void read_scales(GaussianCloud& cloud) {
    const json& scales = member(meta_, "scales");
    const std::vector<float> codes = numbers(scales, "codebook", 256);
    const Picture levels = picture(scales, 0, count_);
    for (size_t i = 0; i < count_ * 3; ++i) cloud.log_scales[i] = codes[levels.data[i / 3 * 4 + i % 3]];
  }

  void read_colours(GaussianCloud& cloud) {
    const json& sh0 = member(meta_, "sh0");
    const std::vector<float> codes = numbers(sh0, "codebook", 256);
    const Picture levels = picture(sh0, 0, count_);
    for (size_t i = 0; i < count_ * 3; ++i) cloud.sh_dc[i] = codes[levels.data[i / 3 * 4 + i % 3]];
    for (size_t i = 0; i < count_; ++i)
      cloud.opacity_logits[i] = logit(static_cast<float>(levels.data[4 * i + 3]) / 255);
  }

  void read_harmonics(GaussianCloud& cloud) {
    const json& sh = meta_["shN"];
    const auto degree = static_cast<size_t>(whole(sh, "bands", 3));
    const auto rows = static_cast<size_t>(whole(sh, "count", static_cast<int64_t>(kMaxPalette)));
    const size_t coefficients = (degree + 1) * (degree + 1) - 1;
    if (coefficients == 0 || count_ == 0) return;
    const std::vector<float> codes = numbers(sh, "codebook", 256);
    const size_t width = kPaletteColumns * coefficients;
    const size_t height = (rows + kPaletteColumns - 1) / kPaletteColumns;
    const Picture centroids = picture(sh, 0, width * height), labels = picture(sh, 1, count_);
    if (static_cast<size_t>(centroids.width) != width)
      fail(fmt::format("its palette of harmonics is {} pixels wide instead of {}", centroids.width, width));
    for (size_t i = 0; i < count_; ++i) {
      const size_t label = labels.data[4 * i] | static_cast<size_t>(labels.data[4 * i + 1]) << 8;
      if (label >= rows) fail(fmt::format("Gaussian {} has harmonics of row {} of {}", i, label, rows));
      const size_t pixel = label / kPaletteColumns * width + label % kPaletteColumns * coefficients;
      for (size_t k = 0; k < coefficients * 3; ++k)
        cloud.sh_rest[kRest * i + k] = codes[centroids.data[(pixel + k / 3) * 4 + k % 3]];
    }
  }

  const std::string& name_;
  ZipReader zip_;
  json meta_;
  size_t count_ = 0;
};

// ---------------------------------------------------------------- writing

class SogWriter {
 public:
  SogWriter(const std::filesystem::path& path, const GaussianCloud& cloud, const SogOptions& options)
      : cloud_(cloud), options_(options), zip_(path), order_(morton_order(cloud)) {
    // Multiples of four, as square as possible.
    const double side = std::sqrt(static_cast<double>(std::max<size_t>(order_.size(), 1)));
    width_ = static_cast<int>(std::ceil(side / 4)) * 4;
    const auto rows = (order_.size() + static_cast<size_t>(width_) - 1) / static_cast<size_t>(width_);
    height_ = static_cast<int>(std::max<size_t>((rows + 3) / 4 * 4, 4));
    meta_["version"] = 2;
    meta_["asset"] = {{"generator", fmt::format("eg4d {}", kVersion)}};
    meta_["count"] = order_.size();
  }

  void write() {
    write_positions();
    write_rotations();
    write_scales();
    write_colours();
    if (sh_degree_of(cloud_) > 0) write_harmonics(sh_degree_of(cloud_));
    zip_.add("meta.json", meta_.dump());
    zip_.commit();
  }

 private:
  // The picture of four bytes for each Gaussian; `row` is that of the cloud.
  void add(const std::string& name, const std::function<void(uint8_t*, size_t row)>& pixel) {
    Picture picture(width_, height_, 4);
    for (size_t i = 0; i < order_.size(); ++i) {
      picture.data[4 * i + 3] = 255;
      pixel(&picture.data[4 * i], order_[i]);
    }
    add(name, picture);
  }
  void add(const std::string& name, const Picture& picture) {
    const std::vector<uint8_t> webp = codecs::encode_webp(picture, 100, true);
    zip_.add(name, webp.data(), webp.size());
  }

  void write_positions() {
    std::vector<float> low(3, INFINITY), high(3, -INFINITY);
    for (size_t i = 0; i < cloud_.positions.size(); ++i) {
      low[i % 3] = std::min(low[i % 3], log_of(cloud_.positions[i]));
      high[i % 3] = std::max(high[i % 3], log_of(cloud_.positions[i]));
    }
    const auto level = [&](size_t row, size_t axis) {
      const float extent = high[axis] - low[axis];
      return extent > 0 ? to_level((log_of(cloud_.positions[3 * row + axis]) - low[axis]) / extent, 65535)
                        : 0;
    };
    add("means_l.webp", [&](uint8_t* pixel, size_t row) {
      for (size_t axis = 0; axis < 3; ++axis) pixel[axis] = static_cast<uint8_t>(level(row, axis));
    });
    add("means_u.webp", [&](uint8_t* pixel, size_t row) {
      for (size_t axis = 0; axis < 3; ++axis) pixel[axis] = static_cast<uint8_t>(level(row, axis) >> 8);
    });
    meta_["means"] = {{"mins", low}, {"maxs", high}, {"files", {"means_l.webp", "means_u.webp"}}};
  }

  void write_rotations() {
    add("quats.webp", [&](uint8_t* pixel, size_t row) {
      const SmallestThree packed = smallest_three(unit_quaternion(&cloud_.quaternions[4 * row]));
      for (size_t k = 0; k < 3; ++k)
        pixel[k] = to_byte((packed.others[k] * std::numbers::sqrt2_v<float> + 1) / 2 * 255);
      pixel[3] = static_cast<uint8_t>(kFirstTag + packed.largest);
    });
    meta_["quats"] = {{"files", nlohmann::ordered_json::array({"quats.webp"})}};
  }

  void write_scales() {
    const Codebook codes = codebook_of(cloud_.log_scales);
    add("scales.webp", [&](uint8_t* pixel, size_t row) {
      for (size_t k = 0; k < 3; ++k) pixel[k] = nearest(codes, cloud_.log_scales[3 * row + k]);
    });
    meta_["scales"] = {{"codebook", codes}, {"files", nlohmann::ordered_json::array({"scales.webp"})}};
  }

  void write_colours() {
    const Codebook codes = codebook_of(cloud_.sh_dc);
    add("sh0.webp", [&](uint8_t* pixel, size_t row) {
      for (size_t k = 0; k < 3; ++k) pixel[k] = nearest(codes, cloud_.sh_dc[3 * row + k]);
      pixel[3] = to_byte(sigmoid(cloud_.opacity_logits[row]) * 255);
    });
    meta_["sh0"] = {{"codebook", codes}, {"files", nlohmann::ordered_json::array({"sh0.webp"})}};
  }

  void write_harmonics(int degree) {
    const auto coefficients = static_cast<size_t>((degree + 1) * (degree + 1) - 1), width = coefficients * 3;
    std::vector<float> values;
    values.reserve(order_.size() * width);
    for (size_t row = 0; row < order_.size(); ++row) {
      const float* rest = &cloud_.sh_rest[kRest * row];
      values.insert(values.end(), rest, rest + width);
    }
    const Palette palette =
        palette_of(values, width, static_cast<size_t>(options_.palette), options_.iterations);
    const Codebook codes = codebook_of(palette.rows);
    const size_t rows = palette.rows.size() / width;
    Picture centroids(static_cast<int>(kPaletteColumns * coefficients),
                      static_cast<int>((rows + kPaletteColumns - 1) / kPaletteColumns), 4);
    // Rows of 64 palette entries lie one after the other, so that entry r begins at pixel r·coefficients.
    for (size_t pixel = 0; pixel < rows * coefficients; ++pixel) {
      for (size_t k = 0; k < 3; ++k)
        centroids.data[4 * pixel + k] = nearest(codes, palette.rows[3 * pixel + k]);
      centroids.data[4 * pixel + 3] = 255;
    }
    add("shN_centroids.webp", centroids);
    add("shN_labels.webp", [&](uint8_t* pixel, size_t row) {
      pixel[0] = static_cast<uint8_t>(palette.labels[row]);
      pixel[1] = static_cast<uint8_t>(palette.labels[row] >> 8);
    });
    meta_["shN"] = {{"count", rows},
                    {"bands", degree},
                    {"codebook", codes},
                    {"files", {"shN_centroids.webp", "shN_labels.webp"}}};
  }

  const GaussianCloud& cloud_;
  const SogOptions& options_;
  ZipWriter zip_;
  std::vector<uint32_t> order_;
  int width_ = 0, height_ = 0;
  nlohmann::ordered_json meta_;
};

}  // namespace

GaussianCloud decode_sog(Bytes file, const std::string& name) {
  return SogReader(file, name).read();
}

void write_sog(const std::filesystem::path& path, const GaussianCloud& cloud, const SogOptions& options) {
  check_shapes(cloud, path);
  SogWriter(path, cloud, options).write();
}

}  // namespace eg4d::splat
