#include "splat/cloud_changes.h"

#include <algorithm>
#include <cmath>

#include "splat/cloud_rotation.h"

namespace eg4d {

void turn_from_z_up(GaussianCloud& cloud, UpAxis up) {
  // z becomes y by a quarter turn about x, and -y by one the other way.
  if (up == UpAxis::y) rotate_cloud(cloud, {1, 0, 0}, -90);
  if (up == UpAxis::minus_y) rotate_cloud(cloud, {1, 0, 0}, 90);
}

void turn_to_z_up(GaussianCloud& cloud, UpAxis up) {
  if (up == UpAxis::y) rotate_cloud(cloud, {1, 0, 0}, 90);
  if (up == UpAxis::minus_y) rotate_cloud(cloud, {1, 0, 0}, -90);
}

void limit_sh_degree(GaussianCloud& cloud, int degree) {
  constexpr size_t kRow = 45;
  const auto kept = static_cast<ptrdiff_t>((degree + 1) * (degree + 1) - 1) * 3;
  for (size_t row = 0; row < cloud.sh_rest.size(); row += kRow) {
    const auto begin = cloud.sh_rest.begin() + static_cast<ptrdiff_t>(row);
    std::fill(begin + kept, begin + static_cast<ptrdiff_t>(kRow), 0.f);
  }
}

void scale_cloud(GaussianCloud& cloud, float factor) {
  const float logarithm = std::log(factor);
  for (float& x : cloud.positions) x *= factor;
  for (float& scale : cloud.log_scales) scale += logarithm;
}

GaussianCloud select_rows(const GaussianCloud& cloud, const std::vector<uint32_t>& rows) {
  GaussianCloud selected(static_cast<int64_t>(rows.size()));
  const auto take = [&](const std::vector<float>& from, std::vector<float>& to, size_t width) {
    for (size_t i = 0; i < rows.size(); ++i) std::copy_n(&from[rows[i] * width], width, &to[i * width]);
  };
  take(cloud.positions, selected.positions, 3);
  take(cloud.sh_dc, selected.sh_dc, 3);
  take(cloud.sh_rest, selected.sh_rest, 45);
  take(cloud.opacity_logits, selected.opacity_logits, 1);
  take(cloud.log_scales, selected.log_scales, 3);
  take(cloud.quaternions, selected.quaternions, 4);
  return selected;
}

}  // namespace eg4d
