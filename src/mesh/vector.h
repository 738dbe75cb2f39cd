#pragma once

#include <cmath>

namespace eg4d::mesh {

// Points, directions and texture coordinates of meshes; dense, so that arrays of them are arrays of floats.
struct Vec2f {
  float x = 0, y = 0;
};

struct Vec3f {
  float x = 0, y = 0, z = 0;

  float* data() { return &x; }
  const float* data() const { return &x; }
  friend Vec3f operator+(Vec3f a, Vec3f b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
  friend Vec3f operator-(Vec3f a, Vec3f b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
  friend Vec3f operator*(Vec3f a, float s) { return {a.x * s, a.y * s, a.z * s}; }
  Vec3f& operator+=(Vec3f b) { return *this = *this + b; }
  bool operator==(const Vec3f&) const = default;
};
static_assert(sizeof(Vec2f) == 2 * sizeof(float) && sizeof(Vec3f) == 3 * sizeof(float));

inline float dot(Vec3f a, Vec3f b) {
  return a.x * b.x + a.y * b.y + a.z * b.z;
}
inline Vec3f cross(Vec3f a, Vec3f b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
inline float length(Vec3f a) {
  return std::sqrt(dot(a, a));
}
// The zero vector stays.
inline Vec3f normalized(Vec3f a) {
  const float l = length(a);
  return l > 0 ? a * (1 / l) : a;
}

}  // namespace eg4d::mesh
