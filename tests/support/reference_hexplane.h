#pragma once

// The hexplane field and its regularisers as their definitions read, for any floating-point type: in double
// for comparisons and finite differences, in float as the plain version of the benchmarks.

#include <vector>

#include "backend/splat_ops.h"

namespace eg4d::test {

template <class T>
struct HexPlaneInput {
  HexPlaneLayout layout;
  std::vector<T> grid;    // [layout.size()]
  std::vector<T> box;     // [2,3]
  std::vector<T> points;  // [N,3]
  std::vector<T> times;   // [N]
};

// [N, feature_width]
template <class T>
std::vector<T> reference_hexplane(const HexPlaneInput<T>& input);

template <class T>
struct HexPlaneGradients {
  std::vector<T> grid, box, points, times;
};
template <class T>
HexPlaneGradients<T> reference_hexplane_backward(const HexPlaneInput<T>& input,
                                                 const std::vector<T>& d_features);

struct RegularizationWeights {
  double plane = 0, time = 0, l1 = 0;
};
// The unweighted values plane, time, l1, and the gradient of their weighted sum.
template <class T>
std::vector<T> reference_regularization(const HexPlaneLayout& layout, const std::vector<T>& grid,
                                        const RegularizationWeights& weights,
                                        std::vector<T>* d_grid = nullptr);

// A dense layout: `levels` times six planes over axes of the sizes space·2^level (all three) and time.
HexPlaneLayout make_hexplane_layout(int channels, int space, int time, int levels);
// The same with axes of given sizes per level: {x,y,z,t}.
HexPlaneLayout make_hexplane_layout(int channels, const std::vector<std::vector<int>>& sizes);

}  // namespace eg4d::test
