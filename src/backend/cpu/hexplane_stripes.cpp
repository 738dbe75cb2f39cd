#include "backend/cpu/hexplane_stripes.h"

#include <algorithm>

#include "backend/cpu/hexplane_sampling.h"

namespace eg4d::cpu {

std::vector<HexPlaneStripe> hexplane_stripes(const HexPlaneLayout& layout, float plane_smoothness,
                                             float time_smoothness, float time_l1, int64_t widest) {
  std::vector<HexPlaneStripe> stripes;
  for (size_t i = 0; i < layout.planes.size(); ++i) {
    const HexPlaneLayout::Plane& plane = layout.planes[i];
    HexPlaneStripe stripe;
    stripe.time = is_time_plane(static_cast<int>(i % 6));
    stripe.stride = int64_t{plane.columns} * layout.channels;
    stripe.rows = plane.rows;
    const int64_t differences = (plane.rows - 2) * stripe.stride, values = plane.rows * stripe.stride;
    if (differences > 0) stripe.smoothness_share = 1.0 / static_cast<double>(differences);
    if (stripe.time && values > 0) stripe.l1_share = 1.0 / static_cast<double>(values);
    const float smoothness = stripe.time ? time_smoothness : plane_smoothness;
    stripe.smoothness = static_cast<float>(2 * smoothness * stripe.smoothness_share);
    stripe.l1 = static_cast<float>(time_l1 * stripe.l1_share);
    for (int64_t column = 0; column < stripe.stride; column += widest) {
      stripe.offset = plane.offset + column;
      stripe.width = std::min(widest, stripe.stride - column);
      stripes.push_back(stripe);
    }
  }
  std::stable_sort(stripes.begin(), stripes.end(), [](const HexPlaneStripe& a, const HexPlaneStripe& b) {
    return a.rows * a.width > b.rows * b.width;
  });
  return stripes;
}

}  // namespace eg4d::cpu
