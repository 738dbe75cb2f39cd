#include <vector>

#include "backend/cpu/hexplane_sampling.h"
#include "backend/cpu/splat_kernels.h"
#include "core/threads.h"

namespace eg4d::cpu {
namespace {

constexpr int64_t kGrain = 256;

// One level of the field. The derivatives with respect to the planes' interpolated values are kept for all
// points, so that afterwards each plane can be filled by one task, in the order of the points.
class LevelBackward {
 public:
  LevelBackward(const HexPlane& field, int level)
      : field_(field),
        level_(level),
        channels_(field.layout->channels),
        d_values_(static_cast<size_t>(6 * field.count * channels_)) {}

  // Adds to d_coordinates [N,4].
  void values(float* d_coordinates) {
    parallel_for(field_.count, kGrain, [&](int64_t begin, int64_t end) {
      std::vector<float> value(static_cast<size_t>(6 * channels_));
      for (int64_t point = begin; point < end; ++point)
        point_values(point, value.data(), d_coordinates + point * 4);
    });
  }

  void scatter() {
    parallel_for(6, 1, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) scatter_plane(static_cast<int>(p));
    });
  }

 private:
  struct Texels {
    int64_t offset;  // of the upper left texel, in floats
    int64_t right, down;
    AxisSample x, y;
  };
  Texels locate(const HexPlaneCoordinates& coordinates, int p) const {
    const HexPlaneLayout::Plane& plane = field_.layout->planes[static_cast<size_t>(level_) * 6 + p];
    Texels texels;
    texels.x = sample_axis(coordinates.value[kHexPlanePairs[p][0]], plane.columns);
    texels.y = sample_axis(coordinates.value[kHexPlanePairs[p][1]], plane.rows);
    texels.offset = plane.offset + (int64_t{texels.y.low} * plane.columns + texels.x.low) * channels_;
    texels.right = int64_t{texels.x.step} * channels_;
    texels.down = int64_t{texels.y.step} * plane.columns * channels_;
    return texels;
  }

  void point_values(int64_t point, float* value, float* d_coordinate) {
    const HexPlaneCoordinates coordinates = hexplane_coordinates(field_, point);
    Texels texels[6];
    for (int p = 0; p < 6; ++p) {
      texels[p] = locate(coordinates, p);
      const Texels& s = texels[p];
      const float* t = field_.grid + s.offset;
      for (int c = 0; c < channels_; ++c) {
        const float top = t[c] * (1 - s.x.weight) + t[s.right + c] * s.x.weight;
        const float bottom = t[s.down + c] * (1 - s.x.weight) + t[s.down + s.right + c] * s.x.weight;
        value[p * channels_ + c] = top * (1 - s.y.weight) + bottom * s.y.weight;
      }
    }
    const float* d_feature = field_.d_features + (point * field_.layout->levels() + level_) * channels_;
    for (int p = 0; p < 6; ++p) {
      const Texels& s = texels[p];
      const float* t = field_.grid + s.offset;
      float* d_value = d_values_.data() + (p * field_.count + point) * channels_;
      float d_x = 0, d_y = 0;
      for (int c = 0; c < channels_; ++c) {
        float others = d_feature[c];
        for (int q = 0; q < 6; ++q)
          if (q != p) others *= value[q * channels_ + c];
        d_value[c] = others;
        const float top = t[s.right + c] - t[c], bottom = t[s.down + s.right + c] - t[s.down + c];
        const float left = t[s.down + c] - t[c], right = t[s.down + s.right + c] - t[s.right + c];
        d_x += others * (top * (1 - s.y.weight) + bottom * s.y.weight);
        d_y += others * (left * (1 - s.x.weight) + right * s.x.weight);
      }
      // A clamped coordinate has slope 0, whatever the texels hold.
      if (s.x.slope != 0) d_coordinate[kHexPlanePairs[p][0]] += d_x * s.x.slope;
      if (s.y.slope != 0) d_coordinate[kHexPlanePairs[p][1]] += d_y * s.y.slope;
    }
  }

  void scatter_plane(int p) {
    for (int64_t point = 0; point < field_.count; ++point) {
      const Texels s = locate(hexplane_coordinates(field_, point), p);
      const float* d_value = d_values_.data() + (p * field_.count + point) * channels_;
      float* t = field_.d_grid + s.offset;
      for (int c = 0; c < channels_; ++c) {
        t[c] += d_value[c] * (1 - s.x.weight) * (1 - s.y.weight);
        t[s.right + c] += d_value[c] * s.x.weight * (1 - s.y.weight);
        t[s.down + c] += d_value[c] * (1 - s.x.weight) * s.y.weight;
        t[s.down + s.right + c] += d_value[c] * s.x.weight * s.y.weight;
      }
    }
  }

  const HexPlane& field_;
  const int level_;
  const int64_t channels_;
  std::vector<float> d_values_;  // [6, N, channels]
};

// u = (p - box[0])·f - 1 with f = 2/(box[1]-box[0]): du/dbox[0] = -f + (p-box[0])·f²/2, du/dbox[1] =
// -(p-box[0])·f²/2.
void coordinate_gradients(const HexPlane& field, const float* d_coordinates) {
  double d_box[6] = {};
  for (int64_t point = 0; point < field.count; ++point) {
    for (int a = 0; a < 3; ++a) {
      const double factor = 2.0 / (static_cast<double>(field.box[3 + a]) - field.box[a]);
      const double distance = static_cast<double>(field.points[point * 3 + a]) - field.box[a];
      const double d = d_coordinates[point * 4 + a];
      if (field.d_points) field.d_points[point * 3 + a] += static_cast<float>(d * factor);
      d_box[a] += d * (distance * factor * factor / 2 - factor);
      d_box[3 + a] -= d * distance * factor * factor / 2;
    }
    if (field.times && field.d_times) field.d_times[point] += d_coordinates[point * 4 + 3];
  }
  for (int i = 0; i < 6 && field.d_box; ++i) field.d_box[i] += static_cast<float>(d_box[i]);
}

}  // namespace

void hexplane_backward(const HexPlane& field) {
  std::vector<float> d_coordinates(static_cast<size_t>(field.count) * 4);
  for (int level = 0; level < field.layout->levels(); ++level) {
    LevelBackward backward(field, level);
    backward.values(d_coordinates.data());
    if (field.d_grid) backward.scatter();
  }
  coordinate_gradients(field, d_coordinates.data());
}

}  // namespace eg4d::cpu
