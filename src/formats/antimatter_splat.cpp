#include "formats/antimatter_splat.h"

#include <fmt/format.h>

#include <numeric>

#include "core/error.h"
#include "formats/splat_numbers.h"
#include "io/atomic_file.h"
#include "io/ply_writer.h"

namespace eg4d::splat {
namespace {

constexpr float kSmallestScale = 1e-10f;

}  // namespace

GaussianCloud decode_splat(Bytes file, const std::string& name) {
  if (file.size() % kSplatBytes != 0)
    throw Error(
        fmt::format("cannot read '{}': its {} bytes are no whole number of Gaussians of {} bytes; it is no "
                    ".splat or truncated",
                    name, file.size(), kSplatBytes));
  const size_t count = file.size() / kSplatBytes;
  GaussianCloud cloud(static_cast<int64_t>(count));
  for (size_t i = 0; i < count; ++i) {
    const size_t row = i * kSplatBytes;
    for (size_t k = 0; k < 3; ++k) {
      const auto position = get<float>(file, row + 4 * k), scale = get<float>(file, row + 12 + 4 * k);
      if (!std::isfinite(position) || !std::isfinite(scale) || scale < 0)
        throw Error(fmt::format(
            "cannot read '{}': Gaussian {} has a position or scale that is no finite number or negative",
            name, i));
      cloud.positions[3 * i + k] = position;
      cloud.log_scales[3 * i + k] = std::log(std::max(scale, kSmallestScale));
      cloud.sh_dc[3 * i + k] = (static_cast<float>(file[row + 24 + k]) / 255 - 0.5f) / kSh0;
    }
    cloud.opacity_logits[i] = logit(static_cast<float>(file[row + 27]) / 255);
    float q[4];
    for (size_t k = 0; k < 4; ++k) q[k] = (static_cast<float>(file[row + 28 + k]) - 128) / 128;
    const auto unit = unit_quaternion(q);
    std::copy(unit.begin(), unit.end(), &cloud.quaternions[4 * i]);
  }
  return cloud;
}

void append_splat(std::string& to, const GaussianCloud& cloud, size_t i) {
  for (size_t k = 0; k < 3; ++k) put(to, cloud.positions[3 * i + k]);
  for (size_t k = 0; k < 3; ++k) put(to, std::exp(cloud.log_scales[3 * i + k]));
  for (size_t k = 0; k < 3; ++k) put(to, to_byte((0.5f + kSh0 * cloud.sh_dc[3 * i + k]) * 255));
  put(to, to_byte(sigmoid(cloud.opacity_logits[i]) * 255));
  for (const float component : unit_quaternion(&cloud.quaternions[4 * i]))
    put(to, to_byte(component * 128 + 128));
}

void write_splat(const std::filesystem::path& path, const GaussianCloud& cloud) {
  check_shapes(cloud, path);
  std::vector<uint32_t> order(static_cast<size_t>(cloud.count()));
  std::vector<float> weight(order.size());
  std::iota(order.begin(), order.end(), 0u);
  for (size_t i = 0; i < weight.size(); ++i)
    weight[i] = cloud.log_scales[3 * i] + cloud.log_scales[3 * i + 1] + cloud.log_scales[3 * i + 2] +
                std::log(sigmoid(cloud.opacity_logits[i]));
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return weight[a] > weight[b]; });
  std::string rows;
  rows.reserve(order.size() * kSplatBytes);
  for (const uint32_t i : order) append_splat(rows, cloud, i);
  write_file_atomically(path, rows);
}

}  // namespace eg4d::splat
