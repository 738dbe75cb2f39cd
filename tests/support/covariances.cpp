#include "support/covariances.h"

#include <array>
#include <cmath>

namespace eg4d::test {
namespace {

using Matrix3 = std::array<std::array<double, 3>, 3>;

// Jacobi's method: turns `s` until it is diagonal and returns the turns, eigenvectors in columns.
Matrix3 diagonalize(Matrix3& s) {
  Matrix3 vectors{{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
  for (int sweep = 0; sweep < 30; ++sweep)
    for (const auto& [p, q] : {std::array{0, 1}, std::array{0, 2}, std::array{1, 2}}) {
      if (s[p][q] == 0) continue;
      const double angle = std::atan2(2 * s[p][q], s[q][q] - s[p][p]) / 2;
      const double c = std::cos(angle), d = std::sin(angle);
      for (int k = 0; k < 3; ++k) {
        const double a = s[k][p], b = s[k][q];
        s[k][p] = c * a - d * b;
        s[k][q] = d * a + c * b;
      }
      for (int k = 0; k < 3; ++k) {
        const double a = s[p][k], b = s[q][k];
        s[p][k] = c * a - d * b;
        s[q][k] = d * a + c * b;
      }
      for (int k = 0; k < 3; ++k) {
        const double a = vectors[k][p], b = vectors[k][q];
        vectors[k][p] = c * a - d * b;
        vectors[k][q] = d * a + c * b;
      }
    }
  return vectors;
}

// Of a rotation, by the largest of the four components.
std::array<double, 4> quaternion_of(const Matrix3& r) {
  const double w = 1 + r[0][0] + r[1][1] + r[2][2], x = 1 + r[0][0] - r[1][1] - r[2][2],
               y = 1 - r[0][0] + r[1][1] - r[2][2], z = 1 - r[0][0] - r[1][1] + r[2][2];
  std::array<double, 4> q;
  if (w >= x && w >= y && w >= z)
    q = {w, r[2][1] - r[1][2], r[0][2] - r[2][0], r[1][0] - r[0][1]};
  else if (x >= y && x >= z)
    q = {r[2][1] - r[1][2], x, r[0][1] + r[1][0], r[0][2] + r[2][0]};
  else if (y >= z)
    q = {r[0][2] - r[2][0], r[0][1] + r[1][0], y, r[1][2] + r[2][1]};
  else
    q = {r[1][0] - r[0][1], r[0][2] + r[2][0], r[1][2] + r[2][1], z};
  const double length = std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
  for (double& component : q) component /= length;
  return q;
}

Matrix3 rotation_of(const std::array<double, 4>& q) {
  const auto [w, x, y, z] = q;
  return {{{1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)},
           {2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)},
           {2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)}}};
}

}  // namespace

Decomposition decompose_covariances(const std::vector<float>& covariances) {
  Decomposition result;
  for (size_t i = 0; i + 6 <= covariances.size(); i += 6) {
    const float* c = &covariances[i];
    Matrix3 s{{{c[0], c[1], c[2]}, {c[1], c[3], c[4]}, {c[2], c[4], c[5]}}};
    Matrix3 r = diagonalize(s);
    const double determinant = r[0][0] * (r[1][1] * r[2][2] - r[1][2] * r[2][1]) -
                               r[0][1] * (r[1][0] * r[2][2] - r[1][2] * r[2][0]) +
                               r[0][2] * (r[1][0] * r[2][1] - r[1][1] * r[2][0]);
    if (determinant < 0)
      for (auto& row : r) row[2] = -row[2];
    for (size_t k = 0; k < 3; ++k)
      result.scales.push_back(static_cast<float>(std::sqrt(std::max(s[k][k], 0.0))));
    for (const double component : quaternion_of(r)) result.rotations.push_back(static_cast<float>(component));
  }
  return result;
}

Decomposition covariances_backward(const Decomposition& gaussians, const std::vector<float>& d_covariances) {
  Decomposition d;
  for (size_t i = 0; i < gaussians.scales.size() / 3; ++i) {
    const float *s = &gaussians.scales[3 * i], *q = &gaussians.rotations[4 * i], *c = &d_covariances[6 * i];
    const double w = q[0], x = q[1], y = q[2], z = q[3];
    const Matrix3 r = rotation_of({w, x, y, z});
    // Σ = M·Mᵀ with M = R·diag(s): dM = 2·G·M, G symmetric.
    const Matrix3 twice{{{2.0 * c[0], c[1], c[2]}, {c[1], 2.0 * c[3], c[4]}, {c[2], c[4], 2.0 * c[5]}}};
    Matrix3 d_r{};
    for (int k = 0; k < 3; ++k) {
      double d_scale = 0;
      for (int row = 0; row < 3; ++row) {
        double d_m = 0;
        for (int column = 0; column < 3; ++column) d_m += twice[row][column] * r[column][k] * s[k];
        d_scale += d_m * r[row][k];
        d_r[row][k] = d_m * s[k];
      }
      d.scales.push_back(static_cast<float>(d_scale));
    }
    const double d_q[4] = {
        2 * (x * (d_r[2][1] - d_r[1][2]) + y * (d_r[0][2] - d_r[2][0]) + z * (d_r[1][0] - d_r[0][1])),
        2 * (y * (d_r[0][1] + d_r[1][0]) + z * (d_r[0][2] + d_r[2][0]) + w * (d_r[2][1] - d_r[1][2]) -
             2 * x * (d_r[1][1] + d_r[2][2])),
        2 * (x * (d_r[0][1] + d_r[1][0]) + z * (d_r[1][2] + d_r[2][1]) + w * (d_r[0][2] - d_r[2][0]) -
             2 * y * (d_r[0][0] + d_r[2][2])),
        2 * (x * (d_r[0][2] + d_r[2][0]) + y * (d_r[1][2] + d_r[2][1]) + w * (d_r[1][0] - d_r[0][1]) -
             2 * z * (d_r[0][0] + d_r[1][1]))};
    for (const double component : d_q) d.rotations.push_back(static_cast<float>(component));
  }
  return d;
}

}  // namespace eg4d::test
