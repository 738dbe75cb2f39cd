#include "core/matrix.h"

#include <cmath>
#include <utility>

#include "core/error.h"

namespace eg4d {

Matrix4 Matrix4::identity() {
  Matrix4 a;
  for (int i = 0; i < 4; ++i) a(i, i) = 1;
  return a;
}

Matrix4 operator*(const Matrix4& a, const Matrix4& b) {
  Matrix4 c;
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j)
      for (int k = 0; k < 4; ++k) c(i, j) += a(i, k) * b(k, j);
  return c;
}

Matrix4 transpose(const Matrix4& a) {
  Matrix4 t;
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) t(i, j) = a(j, i);
  return t;
}

// Gauss-Jordan elimination with partial pivoting.
Matrix4 inverse(const Matrix4& a) {
  Matrix4 left = a, right = Matrix4::identity();
  for (int column = 0; column < 4; ++column) {
    int pivot = column;
    for (int row = column + 1; row < 4; ++row)
      if (std::abs(left(row, column)) > std::abs(left(pivot, column))) pivot = row;
    const double scale = left(pivot, column);
    if (!std::isfinite(scale) || std::abs(scale) < 1e-12) throw Error("the matrix has no inverse");
    for (int j = 0; j < 4; ++j) {
      std::swap(left(column, j), left(pivot, j));
      std::swap(right(column, j), right(pivot, j));
      left(column, j) /= scale;
      right(column, j) /= scale;
    }
    for (int row = 0; row < 4; ++row) {
      if (row == column) continue;
      const double factor = left(row, column);
      for (int j = 0; j < 4; ++j) {
        left(row, j) -= factor * left(column, j);
        right(row, j) -= factor * right(column, j);
      }
    }
  }
  for (double value : right.m)
    if (!std::isfinite(value)) throw Error("the matrix has no inverse");
  return right;
}

}  // namespace eg4d
