#include "splat/cloud_rotation.h"

#include <cmath>
#include <numbers>
#include <span>
#include <utility>
#include <vector>

namespace eg4d {
namespace {

using Vector = std::array<double, 3>;

constexpr int kDegree = 3;
constexpr size_t kChannels = 3;

struct Quaternion {
  double w, x, y, z;
};

Quaternion operator*(const Quaternion& a, const Quaternion& b) {
  return {a.w * b.w - a.x * b.x - a.y * b.y - a.z * b.z, a.w * b.x + a.x * b.w + a.y * b.z - a.z * b.y,
          a.w * b.y - a.x * b.z + a.y * b.w + a.z * b.x, a.w * b.z + a.x * b.y - a.y * b.x + a.z * b.w};
}

Vector rotated(const Quaternion& q, const Vector& v) {
  const Quaternion r = q * Quaternion{0, v[0], v[1], v[2]} * Quaternion{q.w, -q.x, -q.y, -q.z};
  return {r.x, r.y, r.z};
}

// The 2·degree+1 real harmonics of one degree at a unit vector, in the order and sign convention of 3D
// Gaussian splatting, up to one factor for them all.
std::vector<double> harmonics(int degree, const Vector& v) {
  const auto [x, y, z] = v;
  const double xx = x * x, yy = y * y, zz = z * z;
  if (degree == 1) return {-y, z, -x};
  if (degree == 2) {
    const double root = std::sqrt(3.0);
    return {root * x * y, -root * y * z, (2 * zz - xx - yy) / 2, -root * x * z, root * (xx - yy) / 2};
  }
  const double outer = std::sqrt(10.0) / 4, middle = std::sqrt(15.0), inner = std::sqrt(6.0) / 4;
  return {-outer * y * (3 * xx - yy),      middle * x * y * z,
          -inner * y * (4 * zz - xx - yy), z * (2 * zz - 3 * xx - 3 * yy) / 2,
          -inner * x * (4 * zz - xx - yy), middle * z * (xx - yy) / 2,
          -outer * x * (xx - 3 * yy)};
}

// Solves a·x = b for all columns of b in place; row-major, n rows each. Gaussian elimination, pivots by size.
void solve(std::vector<double>& a, std::vector<double>& b, size_t n) {
  for (size_t column = 0; column < n; ++column) {
    size_t pivot = column;
    for (size_t row = column; row < n; ++row)
      if (std::abs(a[row * n + column]) > std::abs(a[pivot * n + column])) pivot = row;
    for (size_t i = 0; i < n; ++i) {
      std::swap(a[pivot * n + i], a[column * n + i]);
      std::swap(b[pivot * n + i], b[column * n + i]);
    }
    for (size_t row = 0; row < n; ++row) {
      if (row == column) continue;
      const double factor = a[row * n + column] / a[column * n + column];
      for (size_t i = 0; i < n; ++i) {
        a[row * n + i] -= factor * a[column * n + i];
        b[row * n + i] -= factor * b[column * n + i];
      }
    }
  }
  for (size_t row = 0; row < n; ++row)
    for (size_t i = 0; i < n; ++i) b[row * n + i] /= a[row * n + row];
}

// M with coefficients' = M·coefficients: the turned function at the turned direction is the old one at the
// old direction. The harmonics of one degree turn among themselves, so that as many directions as there are
// determine M.
std::vector<double> harmonics_rotation(int degree, const Quaternion& rotation) {
  const auto n = static_cast<size_t>(2 * degree + 1);
  std::vector<double> after, before;
  for (size_t i = 0; i < n; ++i) {
    // On a spiral over half the sphere: no two opposite, which would say the same twice.
    const double z = 0.05 + 0.9 * static_cast<double>(i) / static_cast<double>(n);
    const double angle = 2.399963 * static_cast<double>(i), radius = std::sqrt(1 - z * z);
    const Vector direction = {radius * std::cos(angle), radius * std::sin(angle), z};
    const std::vector<double> old_row = harmonics(degree, direction);
    const std::vector<double> new_row = harmonics(degree, rotated(rotation, direction));
    before.insert(before.end(), old_row.begin(), old_row.end());
    after.insert(after.end(), new_row.begin(), new_row.end());
  }
  solve(after, before, n);
  return before;
}

// rest: [15,3] of one Gaussian.
void rotate_degree(std::span<float> rest, int degree, const std::vector<double>& matrix) {
  const auto n = static_cast<size_t>(2 * degree + 1), first = static_cast<size_t>(degree * degree - 1);
  std::array<double, 7> turned{};
  for (size_t channel = 0; channel < kChannels; ++channel) {
    for (size_t row = 0; row < n; ++row) {
      turned[row] = 0;
      for (size_t i = 0; i < n; ++i)
        turned[row] += matrix[row * n + i] * rest[(first + i) * kChannels + channel];
    }
    for (size_t row = 0; row < n; ++row)
      rest[(first + row) * kChannels + channel] = static_cast<float>(turned[row]);
  }
}

}  // namespace

void rotate_cloud(GaussianCloud& cloud, const std::array<double, 3>& axis, double degrees) {
  const double half = degrees / 360 * std::numbers::pi, sine = std::sin(half);
  const Quaternion rotation = {std::cos(half), sine * axis[0], sine * axis[1], sine * axis[2]};
  std::array<std::vector<double>, kDegree> matrices;
  for (int degree = 1; degree <= kDegree; ++degree)
    matrices[static_cast<size_t>(degree - 1)] = harmonics_rotation(degree, rotation);
  for (size_t i = 0; i < static_cast<size_t>(cloud.count()); ++i) {
    float* position = &cloud.positions[3 * i];
    const Vector turned = rotated(rotation, {position[0], position[1], position[2]});
    for (size_t axis_index = 0; axis_index < 3; ++axis_index)
      position[axis_index] = static_cast<float>(turned[axis_index]);
    float* q = &cloud.quaternions[4 * i];
    const Quaternion orientation = rotation * Quaternion{q[0], q[1], q[2], q[3]};
    q[0] = static_cast<float>(orientation.w);
    q[1] = static_cast<float>(orientation.x);
    q[2] = static_cast<float>(orientation.y);
    q[3] = static_cast<float>(orientation.z);
    const std::span<float> rest(&cloud.sh_rest[45 * i], 45);
    for (int degree = 1; degree <= kDegree; ++degree)
      rotate_degree(rest, degree, matrices[static_cast<size_t>(degree - 1)]);
  }
}

}  // namespace eg4d
