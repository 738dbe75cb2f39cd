#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/hexplane_forward.cpp"
#include "backend/cpu/simd_targets.h"
#include "hwy/foreach_target.h"

#include <numeric>

#include "backend/cpu/hexplane_order.h"
#include "backend/cpu/hexplane_sampling.h"
#include "backend/cpu/hexplane_texels-inl.h"
#include "backend/cpu/simd-inl.h"
#include "backend/cpu/splat_kernels.h"
#include "backend/cpu/thread_scratch.h"
#include "core/threads.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {
namespace {

// At most kHexPlaneChunk points on one level.
void forward_level(const HexPlane& field, int level_index, const int32_t* points, int64_t count,
                   const HexPlaneCoordinates* coordinates) {
  const HexPlaneLayout& layout = layout_of(field);
  const int channels = layout.channels;
  const HexPlaneLevel level = hexplane_level(layout, level_index);
  PointSample samples[kHexPlaneChunk];
  for (int64_t i = 0; i < count; ++i) samples[i] = sample_point(coordinates[i], level);
  for (int64_t i = 0; i < count; ++i) {
    if (i + kPrefetchDistance < count)
      prefetch_texels(field.grid, samples[i + kPrefetchDistance], level, channels);
    const PointTexels texels = point_texels(field.grid, samples[i], level, channels);
    float* feature = field.features + (points[i] * int64_t{layout.levels()} + level_index) * channels;
    for_lanes(channels, [&](auto d, int64_t c) HWY_ATTR {
      auto product = texels.plane[0].value(d, c);
      HWY_UNROLL(5)
      for (int p = 1; p < 6; ++p) product = hn::Mul(product, texels.plane[p].value(d, c));
      hn::StoreU(product, d, feature + c);
    });
  }
}

void forward_chunk(const HexPlane& field, const int32_t* points, int64_t count) {
  HexPlaneCoordinates coordinates[kHexPlaneChunk];
  for (int64_t i = 0; i < count; ++i) coordinates[i] = hexplane_coordinates(field, points[i]);
  for (int level = 0; level < layout_of(field).levels(); ++level)
    forward_level(field, level, points, count, coordinates);
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eg4d::cpu {

HWY_EXPORT(forward_chunk);

void hexplane_forward(const HexPlane& field) {
  int32_t* points = scratch<int32_t>(0, field.count);
  std::iota(points, points + field.count, 0);
  sort_along_curve(field, field.count, points);
  parallel_for(field.count, kHexPlaneChunk, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(forward_chunk)(field, points + begin, end - begin);
  });
}

}  // namespace eg4d::cpu
#endif
