#pragma once

#include <array>
#include <cstddef>

namespace eg4d {

// Row-major 4×4 matrix of doubles: cameras are derived in double and rounded once.
struct Matrix4 {
  std::array<double, 16> m{};

  double& operator()(int row, int column) { return m[static_cast<std::size_t>(row * 4 + column)]; }
  double operator()(int row, int column) const { return m[static_cast<std::size_t>(row * 4 + column)]; }
  static Matrix4 identity();
};

Matrix4 operator*(const Matrix4& a, const Matrix4& b);
Matrix4 transpose(const Matrix4& a);
// Throws Error when the matrix is singular or holds NaN or infinity.
Matrix4 inverse(const Matrix4& a);

}  // namespace eg4d
