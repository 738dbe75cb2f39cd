#pragma once

#include <cmath>
#include <functional>
#include <numbers>

#include "mesh/triangle_mesh.h"

namespace eg4d::test {

// A surface over (u,v) in [0,1]², closed in u, and in v where `closed`: columns × rows quads of two
// triangles.
inline mesh::TriangleMesh swept_mesh(int columns, int rows, bool closed,
                                     const std::function<mesh::Vec3f(double, double)>& at) {
  mesh::TriangleMesh mesh;
  const int lines = closed ? rows : rows + 1;
  for (int j = 0; j < lines; ++j)
    for (int i = 0; i < columns; ++i)
      mesh.positions.push_back(at(static_cast<double>(i) / columns, static_cast<double>(j) / rows));
  for (int j = 0; j < rows; ++j)
    for (int i = 0; i < columns; ++i) {
      const auto number = [&](int x, int y) {
        return static_cast<uint32_t>((y % lines) * columns + x % columns);
      };
      mesh.triangles.push_back({number(i, j), number(i + 1, j), number(i + 1, j + 1)});
      mesh.triangles.push_back({number(i, j), number(i + 1, j + 1), number(i, j + 1)});
    }
  mesh.normals = vertex_normals(mesh.positions, mesh.triangles);
  return mesh;
}

inline mesh::TriangleMesh torus_mesh(int columns, int rows, double radius = 0.7, double thickness = 0.3) {
  return swept_mesh(columns, rows, true, [=](double u, double v) {
    const double a = 2 * std::numbers::pi * u, b = 2 * std::numbers::pi * v;
    const double from_axis = radius + thickness * std::cos(b);
    return mesh::Vec3f{static_cast<float>(from_axis * std::cos(a)),
                       static_cast<float>(from_axis * std::sin(a)),
                       static_cast<float>(thickness * std::sin(b))};
  });
}

// Closed but for points at the poles, where triangles have no area.
inline mesh::TriangleMesh sphere_mesh(int columns, int rows, double radius = 1) {
  return swept_mesh(columns, rows, false, [=](double u, double v) {
    const double a = 2 * std::numbers::pi * u, b = std::numbers::pi * (v - 0.5);
    return mesh::Vec3f{static_cast<float>(radius * std::cos(b) * std::cos(a)),
                       static_cast<float>(radius * std::cos(b) * std::sin(a)),
                       static_cast<float>(radius * std::sin(b))};
  });
}

// Both in one mesh.
inline mesh::TriangleMesh joined(mesh::TriangleMesh a, const mesh::TriangleMesh& b) {
  const auto first = static_cast<uint32_t>(a.positions.size());
  a.positions.insert(a.positions.end(), b.positions.begin(), b.positions.end());
  a.normals.insert(a.normals.end(), b.normals.begin(), b.normals.end());
  for (const auto& [p, q, r] : b.triangles) a.triangles.push_back({p + first, q + first, r + first});
  return a;
}

}  // namespace eg4d::test
