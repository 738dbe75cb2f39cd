#include "support/scene_decoder.h"

#include <zlib.h>

#include <cmath>
#include <stdexcept>

#include "view/scene_file.h"

namespace eg4d::test {
namespace {

uint32_t number_at(const std::string& bytes, size_t at) {
  uint32_t number = 0;
  for (size_t i = 0; i < 4; ++i)
    number |= static_cast<uint32_t>(static_cast<unsigned char>(bytes.at(at + i))) << (8 * i);
  return number;
}

std::string inflated(const std::string& packed) {
  std::string bytes(size_t{1} << 22, '\0');
  uLongf size = bytes.size();
  if (uncompress(reinterpret_cast<Bytef*>(bytes.data()), &size, reinterpret_cast<const Bytef*>(packed.data()),
                 packed.size()) != Z_OK)
    throw std::runtime_error("a section is damaged");
  bytes.resize(size);
  return bytes;
}

using Values = std::vector<int32_t>;  // [components][N]

// Reads parts of a section one after the other.
class Reader {
 public:
  explicit Reader(std::string bytes) : bytes_(std::move(bytes)) {}
  Values next(size_t count, const Values& expected = {}) {
    Values values(count);
    for (size_t i = 0; i < count; ++i) {
      const uint32_t folded = static_cast<unsigned char>(bytes_.at(at_ + i)) |
                              static_cast<uint32_t>(static_cast<unsigned char>(bytes_.at(at_ + count + i)))
                                  << 8;
      const int32_t difference = static_cast<int32_t>(folded >> 1) ^ -static_cast<int32_t>(folded & 1);
      values[i] = static_cast<int16_t>((expected.empty() ? 0 : expected[i]) + difference);
    }
    at_ += 2 * count;
    return values;
  }
  bool at_end() const { return at_ == bytes_.size(); }

 private:
  std::string bytes_;
  size_t at_ = 0;
};

// Rows [N, components] of what is stored component by component.
std::vector<float> rows(const Values& values, size_t components, float step,
                        const std::vector<float>& origin = {}) {
  const size_t count = values.size() / components;
  std::vector<float> result(values.size());
  for (size_t k = 0; k < components; ++k)
    for (size_t i = 0; i < count; ++i)
      result[i * components + k] =
          (origin.empty() ? 0 : origin[k]) + step * static_cast<float>(values[k * count + i]);
  return result;
}

size_t count_of(const SceneFileParts& file) {
  return file.head["gaussians"];
}
float step_of(const SceneFileParts& file, const char* name) {
  return file.head["steps"][name];
}
const std::string& contents(const SceneFileParts& file, SceneSection kind, int index = 0) {
  return file.contents.at({static_cast<uint32_t>(kind), static_cast<uint32_t>(index)});
}

// The moment's parts as they are stored; `first` reads what stands before all moments.
template <class First>
std::vector<Values> stored(const SceneFileParts& file, SceneSection kind, int moment,
                           const std::vector<size_t>& widths, const First& first) {
  for (const auto& step : file.head["order"]) {
    if (step["moment"] != moment) continue;
    std::vector<std::vector<Values>> from;
    for (const int other : step["from"]) from.push_back(stored(file, kind, other, widths, first));
    if (from.empty()) from.push_back(first());
    Reader reader(contents(file, kind, moment));
    std::vector<Values> parts;
    for (size_t p = 0; p < widths.size(); ++p) {
      Values expected = from[0][p];
      if (from.size() == 2) {
        const double low = step["from"][0], high = step["from"][1];
        const double share = (moment - low) / (high - low);
        for (size_t i = 0; i < expected.size(); ++i)
          expected[i] = static_cast<int32_t>(
              std::floor(expected[i] * (1 - share) + from[1][p][i] * share + 0.5 + 1e-9));
      }
      parts.push_back(reader.next(widths[p] * count_of(file), expected));
    }
    if (!reader.at_end()) throw std::runtime_error("a section is too long");
    return parts;
  }
  throw std::runtime_error("there is no such moment");
}

std::vector<Values> stored_canonical(const SceneFileParts& file) {
  const size_t n = count_of(file);
  Reader reader(contents(file, SceneSection::shape));
  Values positions = reader.next(3 * n);
  for (size_t i = 0; i < positions.size(); ++i)
    if (i % n != 0) positions[i] = static_cast<int16_t>(positions[i] + positions[i - 1]);
  Values scales = reader.next(3 * n), quaternions = reader.next(4 * n);
  return {positions, scales, quaternions};
}

}  // namespace

SceneFileParts take_apart(const std::string& file) {
  if (file.compare(0, kSceneMagic.size(), kSceneMagic) != 0 || number_at(file, 8) != kSceneVersion)
    throw std::runtime_error("no scene file");
  SceneFileParts parts;
  size_t at = 16 + number_at(file, 12);
  parts.head = nlohmann::json::parse(file.substr(16, at - 16));
  while (at < file.size()) {
    const std::pair key(number_at(file, at), number_at(file, at + 4));
    const size_t size = number_at(file, at + 8);
    parts.order.push_back(key);
    parts.contents[key] = inflated(file.substr(at + 12, size));
    at += 12 + size;
  }
  return parts;
}

DecodedPose decode_pose(const SceneFileParts& file, int moment) {
  const auto canonical = [&] { return stored_canonical(file); };
  const std::vector<Values> parts =
      moment < 0 ? canonical() : stored(file, SceneSection::moment, moment, {3, 3, 4}, canonical);
  return {rows(parts[0], 3, step_of(file, "position"), file.head["origin"].get<std::vector<float>>()),
          rows(parts[1], 3, step_of(file, "log_scale")), rows(parts[2], 4, step_of(file, "quaternion"))};
}

DecodedColors decode_colors(const SceneFileParts& file) {
  const size_t n = count_of(file);
  Reader reader(contents(file, SceneSection::color));
  DecodedColors colors;
  colors.sh_dc = rows(reader.next(3 * n), 3, step_of(file, "sh_dc"));
  colors.gain_bias = rows(reader.next(4 * n), 4, step_of(file, "color"));
  colors.opacities = rows(reader.next(n), 1, step_of(file, "opacity"));
  colors.sh_rest.resize(45 * n);
  const int most = file.head["sh_degree"];
  for (int degree = 1; degree <= most; ++degree) {
    const size_t width = static_cast<size_t>(2 * degree + 1) * 3,
                 first = static_cast<size_t>(degree * degree - 1) * 3;
    Reader harmonics(contents(file, SceneSection::harmonics, degree));
    const float step = file.head["steps"]["harmonics"][static_cast<size_t>(degree - 1)];
    const std::vector<float> values = rows(harmonics.next(width * n), width, step);
    for (size_t i = 0; i < n; ++i)
      for (size_t k = 0; k < width; ++k) colors.sh_rest[45 * i + first + k] = values[width * i + k];
  }
  return colors;
}

std::vector<float> decode_own_colors(const SceneFileParts& file, int moment) {
  const size_t n = count_of(file);
  std::vector<size_t> widths = {4};
  if (file.head["own_opacities"]) widths.push_back(1);
  const auto reference = [&] {
    Reader reader(contents(file, SceneSection::color));
    reader.next(3 * n);
    Values gain_bias = reader.next(4 * n), opacities = reader.next(n);
    return std::vector<Values>{gain_bias, opacities};
  };
  return rows(stored(file, SceneSection::own_color, moment, widths, reference)[0], 4, step_of(file, "color"));
}

}  // namespace eg4d::test
