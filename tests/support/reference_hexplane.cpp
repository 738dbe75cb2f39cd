#include "support/reference_hexplane.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace eg4d::test {
namespace {

constexpr int kPairs[6][2] = {{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}};

// Texel position of a coordinate in [-1,1] on an axis (align-corners, border clamp).
template <class T>
struct Position {
  int low, high;
  T weight;  // of high
  T slope;   // d(position)/d(coordinate); 0 when clamped
};
template <class T>
Position<T> position_on_axis(T coordinate, int size) {
  const T position = (coordinate + 1) / 2 * static_cast<T>(size - 1);
  if (!(position > 0)) return {0, std::min(1, size - 1), 0, 0};
  if (position >= static_cast<T>(size - 1)) return {size - 1, size - 1, 0, 0};
  const int low = static_cast<int>(std::floor(position));
  return {low, low + 1, position - static_cast<T>(low), static_cast<T>(size - 1) / 2};
}

// The four texels of one plane around a point, and where they lie in the grid.
template <class T>
struct Footprint {
  Position<T> x, y;
  std::array<int64_t, 4> offset;  // upper left, upper right, lower left, lower right
  std::array<T, 4> weight() const {
    return {(1 - x.weight) * (1 - y.weight), x.weight * (1 - y.weight), (1 - x.weight) * y.weight,
            x.weight * y.weight};
  }
  std::array<T, 4> d_weight_x() const { return {-(1 - y.weight), 1 - y.weight, -y.weight, y.weight}; }
  std::array<T, 4> d_weight_y() const { return {-(1 - x.weight), -x.weight, 1 - x.weight, x.weight}; }
};
template <class T>
Footprint<T> footprint(const HexPlaneInput<T>& input, const std::array<T, 4>& coordinates, int level, int p) {
  const HexPlaneLayout::Plane& plane = input.layout.planes[static_cast<size_t>(level * 6 + p)];
  Footprint<T> f;
  f.x = position_on_axis(coordinates[kPairs[p][0]], plane.columns);
  f.y = position_on_axis(coordinates[kPairs[p][1]], plane.rows);
  const auto texel = [&](int row, int column) {
    return plane.offset + (int64_t{row} * plane.columns + column) * input.layout.channels;
  };
  f.offset = {texel(f.y.low, f.x.low), texel(f.y.low, f.x.high), texel(f.y.high, f.x.low),
              texel(f.y.high, f.x.high)};
  return f;
}

template <class T>
std::array<T, 4> coordinates_of(const HexPlaneInput<T>& input, size_t point) {
  std::array<T, 4> u;
  for (size_t a = 0; a < 3; ++a)
    u[a] = (input.points[point * 3 + a] - input.box[a]) * 2 / (input.box[3 + a] - input.box[a]) - 1;
  u[3] = input.times[point];
  return u;
}

template <class T>
T interpolate(const std::vector<T>& grid, const Footprint<T>& f, const std::array<T, 4>& weight,
              int channel) {
  T sum = 0;
  for (size_t k = 0; k < 4; ++k) sum += weight[k] * grid[static_cast<size_t>(f.offset[k] + channel)];
  return sum;
}

}  // namespace

template <class T>
std::vector<T> reference_hexplane(const HexPlaneInput<T>& input) {
  const int levels = input.layout.levels(), channels = input.layout.channels;
  std::vector<T> features(input.times.size() * static_cast<size_t>(levels * channels), T{1});
  for (size_t point = 0; point < input.times.size(); ++point) {
    const std::array<T, 4> u = coordinates_of(input, point);
    for (int level = 0; level < levels; ++level)
      for (int p = 0; p < 6; ++p) {
        const Footprint<T> f = footprint(input, u, level, p);
        for (int c = 0; c < channels; ++c)
          features[(point * levels + level) * channels + c] *= interpolate(input.grid, f, f.weight(), c);
      }
  }
  return features;
}

template <class T>
HexPlaneGradients<T> reference_hexplane_backward(const HexPlaneInput<T>& input,
                                                 const std::vector<T>& d_features) {
  const int levels = input.layout.levels(), channels = input.layout.channels;
  HexPlaneGradients<T> d{std::vector<T>(input.grid.size()), std::vector<T>(6),
                         std::vector<T>(input.points.size()), std::vector<T>(input.times.size())};
  for (size_t point = 0; point < input.times.size(); ++point) {
    const std::array<T, 4> u = coordinates_of(input, point);
    std::array<T, 4> d_u{};
    for (int level = 0; level < levels; ++level) {
      std::array<Footprint<T>, 6> f;
      for (int p = 0; p < 6; ++p) f[p] = footprint(input, u, level, p);
      for (int c = 0; c < channels; ++c)
        for (int p = 0; p < 6; ++p) {
          T d_value = d_features[(point * levels + level) * channels + c];
          for (int q = 0; q < 6; ++q)
            if (q != p) d_value *= interpolate(input.grid, f[q], f[q].weight(), c);
          const std::array<T, 4> weight = f[p].weight();
          for (size_t k = 0; k < 4; ++k)
            d.grid[static_cast<size_t>(f[p].offset[k] + c)] += d_value * weight[k];
          d_u[kPairs[p][0]] += d_value * interpolate(input.grid, f[p], f[p].d_weight_x(), c) * f[p].x.slope;
          d_u[kPairs[p][1]] += d_value * interpolate(input.grid, f[p], f[p].d_weight_y(), c) * f[p].y.slope;
        }
    }
    // u = 2·(p-b0)/(b1-b0) - 1
    for (size_t a = 0; a < 3; ++a) {
      const T extent = input.box[3 + a] - input.box[a], distance = input.points[point * 3 + a] - input.box[a];
      d.points[point * 3 + a] += d_u[a] * 2 / extent;
      d.box[a] += d_u[a] * 2 * (distance - extent) / (extent * extent);
      d.box[3 + a] -= d_u[a] * 2 * distance / (extent * extent);
    }
    d.times[point] += d_u[3];
  }
  return d;
}

template <class T>
std::vector<T> reference_regularization(const HexPlaneLayout& layout, const std::vector<T>& grid,
                                        const RegularizationWeights& weights, std::vector<T>* d_grid) {
  std::vector<T> values(3);
  for (size_t i = 0; i < layout.planes.size(); ++i) {
    const HexPlaneLayout::Plane& plane = layout.planes[i];
    const bool time = kPairs[i % 6][1] == 3;
    const int64_t row = int64_t{plane.columns} * layout.channels;
    const auto at = [&](int64_t r, int64_t k) { return static_cast<size_t>(plane.offset + r * row + k); };
    const T count = static_cast<T>((plane.rows - 2) * row);
    const T scale = static_cast<T>(time ? weights.time : weights.plane) / count;
    for (int64_t r = 0; r + 2 < plane.rows; ++r)
      for (int64_t k = 0; k < row; ++k) {
        const T e = grid[at(r, k)] - 2 * grid[at(r + 1, k)] + grid[at(r + 2, k)];
        values[time ? 1 : 0] += e * e / count;
        if (!d_grid) continue;
        (*d_grid)[at(r, k)] += scale * 2 * e;
        (*d_grid)[at(r + 1, k)] -= scale * 4 * e;
        (*d_grid)[at(r + 2, k)] += scale * 2 * e;
      }
    if (!time) continue;
    const T texels = static_cast<T>(plane.rows * row);
    for (int64_t k = 0; k < plane.rows * row; ++k) {
      const T difference = grid[at(0, k)] - 1;
      values[2] += std::abs(difference) / texels;
      if (d_grid)
        (*d_grid)[at(0, k)] +=
            static_cast<T>(weights.l1) / texels * static_cast<T>((difference > 0) - (difference < 0));
    }
  }
  return values;
}

HexPlaneLayout make_hexplane_layout(int channels, const std::vector<std::vector<int>>& sizes) {
  HexPlaneLayout layout;
  layout.channels = channels;
  int64_t offset = 0;
  for (const std::vector<int>& size : sizes)
    for (const auto& pair : kPairs) {
      layout.planes.push_back({offset, size.at(pair[1]), size.at(pair[0])});
      offset += int64_t{size.at(pair[1])} * size.at(pair[0]) * channels;
    }
  return layout;
}

HexPlaneLayout make_hexplane_layout(int channels, int space, int time, int levels) {
  std::vector<std::vector<int>> sizes;
  for (int level = 0; level < levels; ++level)
    sizes.push_back({space << level, space << level, space << level, time});
  return make_hexplane_layout(channels, sizes);
}

template std::vector<float> reference_hexplane(const HexPlaneInput<float>&);
template std::vector<double> reference_hexplane(const HexPlaneInput<double>&);
template HexPlaneGradients<float> reference_hexplane_backward(const HexPlaneInput<float>&,
                                                              const std::vector<float>&);
template HexPlaneGradients<double> reference_hexplane_backward(const HexPlaneInput<double>&,
                                                               const std::vector<double>&);
template std::vector<float> reference_regularization(const HexPlaneLayout&, const std::vector<float>&,
                                                     const RegularizationWeights&, std::vector<float>*);
template std::vector<double> reference_regularization(const HexPlaneLayout&, const std::vector<double>&,
                                                      const RegularizationWeights&, std::vector<double>*);

}  // namespace eg4d::test
