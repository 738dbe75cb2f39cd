#include "io/ply.h"

#include <fmt/format.h>

#include <cmath>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/ply_table.h"
#include "io/ply_writer.h"

namespace eg4d {
namespace {

constexpr int kRest = 15;  // coefficients per channel at degree 3, without the constant one

// prefix_0, prefix_1, … into the columns of an array [N,width].
void add_columns(std::vector<PlyTable::Column>& columns, const PlyTable& table, const std::string& prefix,
                 int width, std::vector<float>& to) {
  for (int i = 0; i < width; ++i)
    columns.push_back({table.at(prefix + std::to_string(i)), to.data(), static_cast<size_t>(i),
                       static_cast<size_t>(width)});
}

void add_positions(std::vector<PlyTable::Column>& columns, const PlyTable& table, std::vector<float>& to) {
  const char* const names[] = {"x", "y", "z"};
  for (size_t i = 0; i < 3; ++i) columns.push_back({table.at(names[i]), to.data(), i, 3});
}

float colour_scale(PlyTable::Type type) {
  using Type = PlyTable::Type;
  switch (type) {
    case Type::i8:
      return 1.f / 127;
    case Type::u8:
      return 1.f / 255;
    case Type::i16:
      return 1.f / 32767;
    case Type::u16:
      return 1.f / 65535;
    case Type::i32:
      return 1.f / 2147483647.f;
    case Type::u32:
      return 1.f / 4294967295.f;
    case Type::f32:
    case Type::f64:
      return 1;
  }
  return 1;
}

void append(std::string& to, const float* values, size_t count) {
  to.append(reinterpret_cast<const char*>(values), count * sizeof(float));
}

void check_shape(const std::filesystem::path& path, const char* what, size_t size, size_t wanted) {
  if (size != wanted)
    throw Error(fmt::format("cannot write '{}': the {} hold {} numbers instead of {}", path.string(), what,
                            size, wanted));
}

}  // namespace

GaussianCloud::GaussianCloud(int64_t count) {
  const size_t n = static_cast<size_t>(count);
  positions.resize(n * 3);
  sh_dc.resize(n * 3);
  sh_rest.resize(n * kRest * 3);
  opacity_logits.resize(n);
  log_scales.resize(n * 3);
  quaternions.resize(n * 4);
}

GaussianCloud decode_gaussian_ply(Bytes file, const std::string& name) {
  const PlyTable table(file, name);
  size_t rest = 0;
  for (const PlyTable::Property& property : table.properties()) rest += property.name.starts_with("f_rest_");
  if (rest != 0 && rest != 9 && rest != 24 && rest != 45)
    throw Error(fmt::format(
        "cannot read '{}': {} properties f_rest_* fit no spherical harmonics degree (0, 9, 24 or 45 do)",
        name, rest));
  for (const char* property : {"x", "f_dc_0", "opacity", "scale_0", "rot_0"}) table.at(property);
  GaussianCloud cloud(table.rows());
  std::vector<PlyTable::Column> columns;
  add_positions(columns, table, cloud.positions);
  add_columns(columns, table, "f_dc_", 3, cloud.sh_dc);
  add_columns(columns, table, "scale_", 3, cloud.log_scales);
  add_columns(columns, table, "rot_", 4, cloud.quaternions);
  columns.push_back({table.at("opacity"), cloud.opacity_logits.data()});
  const size_t per_channel = rest / 3;
  for (size_t i = 0; i < rest; ++i) {
    const size_t channel = i / per_channel, coefficient = i % per_channel;
    columns.push_back({table.at("f_rest_" + std::to_string(i)), cloud.sh_rest.data(),
                       coefficient * 3 + channel, kRest * 3});
  }
  table.read(columns);
  return cloud;
}

GaussianCloud read_gaussian_ply(const std::filesystem::path& path) {
  return decode_gaussian_ply(MappedFile(path).bytes(), path.string());
}

int sh_degree_of(const GaussianCloud& cloud) {
  int highest = 0;  // coefficient of degree 1 and above, plus one
  for (size_t row = 0; row < cloud.sh_rest.size(); row += kRest * 3)
    for (int k = kRest * 3; k > highest * 3; --k)
      if (cloud.sh_rest[row + static_cast<size_t>(k) - 1] != 0) highest = (k + 2) / 3;
  return highest == 0 ? 0 : highest <= 3 ? 1 : highest <= 8 ? 2 : 3;
}

void check_shapes(const GaussianCloud& cloud, const std::filesystem::path& path) {
  const size_t count = cloud.opacity_logits.size();
  check_shape(path, "positions", cloud.positions.size(), count * 3);
  check_shape(path, "constant colours", cloud.sh_dc.size(), count * 3);
  check_shape(path, "spherical harmonics", cloud.sh_rest.size(), count * kRest * 3);
  check_shape(path, "scales", cloud.log_scales.size(), count * 3);
  check_shape(path, "rotations", cloud.quaternions.size(), count * 4);
}

void write_gaussian_ply(const std::filesystem::path& path, const GaussianCloud& cloud) {
  write_gaussian_ply(path, cloud, 3);
}

void write_gaussian_ply(const std::filesystem::path& path, const GaussianCloud& cloud, int sh_degree) {
  check_shapes(cloud, path);
  const size_t count = cloud.opacity_logits.size();
  const int rest = (sh_degree + 1) * (sh_degree + 1) - 1;

  std::string header = fmt::format("ply\nformat binary_little_endian 1.0\nelement vertex {}\n", count);
  auto property = [&](const std::string& name) { header += "property float " + name + "\n"; };
  auto numbered = [&](const char* prefix, int width) {
    for (int i = 0; i < width; ++i) property(prefix + std::to_string(i));
  };
  for (const char* name : {"x", "y", "z", "nx", "ny", "nz"}) property(name);
  numbered("f_dc_", 3);
  numbered("f_rest_", rest * 3);
  property("opacity");
  numbered("scale_", 3);
  numbered("rot_", 4);
  header += "end_header\n";

  AtomicFile file(path);
  file.write(header);
  const float normal[3] = {};
  std::string row;
  for (size_t i = 0; i < count; ++i) {
    row.clear();
    append(row, &cloud.positions[i * 3], 3);
    append(row, normal, 3);
    append(row, &cloud.sh_dc[i * 3], 3);
    for (size_t channel = 0; channel < 3; ++channel)
      for (size_t k = 0; k < static_cast<size_t>(rest); ++k)
        append(row, &cloud.sh_rest[(i * kRest + k) * 3 + channel], 1);
    append(row, &cloud.opacity_logits[i], 1);
    append(row, &cloud.log_scales[i * 3], 3);
    append(row, &cloud.quaternions[i * 4], 4);
    file.write(row);
  }
  file.commit();
}

PointCloud decode_point_ply(Bytes file, const std::string& name) {
  const PlyTable table(file, name);
  for (const char* property : {"x", "y", "z"}) table.at(property);
  const size_t count = static_cast<size_t>(table.rows());
  PointCloud cloud{std::vector<float>(count * 3), std::vector<float>(count * 3, 0.5f)};
  std::vector<PlyTable::Column> columns;
  add_positions(columns, table, cloud.positions);
  if (table.find("red")) {
    const char* const names[] = {"red", "green", "blue"};
    for (size_t i = 0; i < 3; ++i) {
      const size_t property = table.at(names[i]);
      columns.push_back(
          {property, cloud.colors.data(), i, 3, colour_scale(table.properties()[property].type)});
    }
  }
  table.read(columns);
  return cloud;
}

PointCloud read_point_ply(const std::filesystem::path& path) {
  return decode_point_ply(MappedFile(path).bytes(), path.string());
}

void write_point_ply(const std::filesystem::path& path, const PointCloud& cloud) {
  const size_t count = cloud.positions.size() / 3;
  check_shape(path, "positions", cloud.positions.size(), count * 3);
  check_shape(path, "colours", cloud.colors.size(), count * 3);
  AtomicFile file(path);
  file.write(fmt::format(
      "ply\nformat binary_little_endian 1.0\nelement vertex {}\nproperty float x\nproperty float y\nproperty "
      "float z\n"
      "property float nx\nproperty float ny\nproperty float nz\nproperty uchar red\nproperty uchar green\n"
      "property uchar blue\nend_header\n",
      count));
  for (size_t i = 0; i < count; ++i) {
    float numbers[6] = {};
    uint8_t colour[3];
    for (size_t c = 0; c < 3; ++c) {
      numbers[c] = cloud.positions[i * 3 + c];
      // The order of the comparisons turns NaN into 0.
      const float clamped = std::min(1.f, std::max(0.f, cloud.colors[i * 3 + c]));
      colour[c] = static_cast<uint8_t>(std::lround(clamped * 255));
    }
    file.write(numbers, sizeof numbers);
    file.write(colour, sizeof colour);
  }
  file.commit();
}

}  // namespace eg4d
