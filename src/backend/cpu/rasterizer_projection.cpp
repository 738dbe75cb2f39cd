// From Gaussians in the world to Gaussians in the image, one Gaussian per vector lane.

#include <algorithm>
#include <cstring>

#include "backend/cpu/rasterizer.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/rasterizer_projection.cpp"
#include "backend/cpu/simd_targets.h"

#include <hwy/foreach_target.h>

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "backend/cpu/rasterizer_geometry-inl.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {
namespace {

constexpr float kNear = 0.2f, kDiscriminantFloor = 0.1f;
constexpr float kLog2E = 1.4426950408889634f;

// Tiles [low, high) along one axis that [center - radius, center + radius] touches.
struct TileRange {
  V low, high;
};
HWY_INLINE TileRange square_tiles(V center, V radius, int tiles) {
  const V inverse = set(1.0f / kTile), zero = hn::Zero(D()), most = set(static_cast<float>(tiles));
  const V low = hn::Floor(hn::Mul(hn::Sub(center, radius), inverse));
  const V high = hn::Floor(hn::Mul(hn::Add(hn::Add(center, radius), set(kTile - 1)), inverse));
  return {hn::Min(hn::Max(low, zero), most), hn::Min(hn::Max(high, zero), most)};
}

// Pixels [low, high] inside the image where center ± extent lies, widened by a hundredth of a pixel and what
// rounding can do to the center.
struct PixelRange {
  V low, high;
};
HWY_INLINE PixelRange pixels_within(V center, V extent, int pixels) {
  const V wide = hn::Add(extent, hn::MulAdd(hn::Abs(center), set(3e-7f), set(0.01f)));
  const V zero = hn::Zero(D()), last = set(static_cast<float>(pixels - 1));
  return {hn::Max(hn::Ceil(hn::Sub(center, wide)), zero), hn::Min(hn::Floor(hn::Add(center, wide)), last)};
}

void project_lanes(const RasterizeForward& f, RasterizerContext& context, int64_t first, size_t count) {
  const D d;
  const V zero = hn::Zero(d), one = set(1);
  const Vector3 mean = load3(f.means + 3 * first, count);
  const Vector3 color = load3(f.colors + 3 * first, count);
  const V opacity = load1(f.opacities + first, count);
  const View v = view_of(*f.camera, f.width, f.height, mean);
  const Symmetric2 c = covariance_2d(v, load_shape(f, first, count).covariance);
  const V determinant = c.determinant();
  const V inverse = hn::Div(one, determinant);
  const V middle = hn::Mul(set(0.5f), hn::Add(c.xx, c.yy));
  const V spread =
      hn::Sqrt(hn::Max(set(kDiscriminantFloor), hn::NegMulAdd(one, determinant, hn::Mul(middle, middle))));
  const V radius = hn::Ceil(hn::Mul(set(3), hn::Sqrt(hn::Add(middle, spread))));
  const Clip clip = clip_of(*f.camera, mean);
  const V half = set(0.5f), width = set(f.width), height = set(f.height);
  const V x = hn::Mul(hn::Sub(hn::Mul(hn::MulAdd(clip.x, clip.inverse_w, one), width), one), half);
  const V y = hn::Mul(hn::Sub(hn::Mul(hn::MulAdd(clip.y, clip.inverse_w, one), height), one), half);

  V unfinite = hn::Mul(radius, zero);  // 0, or NaN when something is not finite
  for (const V value : {x, y, v.mean.z, inverse, c.xx, c.xy, c.yy, opacity, color.x, color.y, color.z})
    unfinite = hn::MulAdd(value, zero, unfinite);
  const TileRange across = square_tiles(x, radius, context.tiles_x),
                  down = square_tiles(y, radius, context.tiles_y);
  M visible = hn::And(hn::Gt(v.mean.z, set(kNear)), hn::Eq(unfinite, zero));
  visible = hn::And(visible, hn::And(hn::Lt(across.low, across.high), hn::Lt(down.low, down.high)));

  // How far alpha stays above 1/255, widened by what rounding can do to `fall`, so that leaving out the rest
  // never changes a bit; without a proper ellipse nothing is left out.
  const V log2_opacity = hn::Log2(d, opacity);
  const V reach = hn::Add(log2_opacity, set(7.994353436858858f));  // log2(255)
  const M ellipse = hn::Gt(determinant, zero);
  const V far = set(1e30f);
  const V conditioning = hn::Mul(hn::Mul(c.xx, c.yy), inverse);
  const V safe_reach = hn::IfThenElse(
      ellipse, hn::MulAdd(reach, hn::MulAdd(conditioning, set(4e-6f), set(1.00001f)), set(1e-4f)), far);
  const V square = hn::Mul(safe_reach, set(2 / kLog2E));
  const PixelRange columns = pixels_within(x, hn::Sqrt(hn::Mul(square, c.xx)), f.width);
  const PixelRange rows = pixels_within(y, hn::Sqrt(hn::Mul(square, c.yy)), f.height);
  const V tile_inverse = set(1.0f / kTile);
  const V x0 = hn::Max(across.low, hn::Floor(hn::Mul(columns.low, tile_inverse)));
  const V x1 = hn::Min(across.high, hn::Add(hn::Floor(hn::Mul(columns.high, tile_inverse)), one));
  const V y0 = hn::Max(down.low, hn::Floor(hn::Mul(rows.low, tile_inverse)));
  const V y1 = hn::Min(down.high, hn::Add(hn::Floor(hn::Mul(rows.high, tile_inverse)), one));
  M blended = hn::And(visible, hn::Ge(reach, zero));
  blended = hn::And(blended, hn::And(hn::Le(columns.low, columns.high), hn::Le(rows.low, rows.high)));
  blended = hn::And(blended, hn::And(hn::Lt(x0, x1), hn::Lt(y0, y1)));

  // Four floats of every lane at a time: quarters[k][lane] is the k-th quarter of a ScreenGaussian.
  HWY_ALIGN float quarters[3][16][4];
  const V log2e_det = hn::Mul(set(kLog2E), inverse);
  hn::StoreInterleaved4(x, y, hn::Mul(half, hn::Mul(c.yy, log2e_det)), hn::Neg(hn::Mul(c.xy, log2e_det)), d,
                        quarters[0][0]);
  hn::StoreInterleaved4(hn::Mul(half, hn::Mul(c.xx, log2e_det)), log2_opacity, reach, safe_reach, d,
                        quarters[1][0]);
  hn::StoreInterleaved4(color.x, color.y, color.z, v.mean.z, d, quarters[2][0]);
  const DI di;
  HWY_ALIGN int32_t box[4][16], radii[16], depths[16];
  const V sides[4] = {x0, y0, x1, y1};
  for (int k = 0; k < 4; ++k) hn::Store(hn::ConvertTo(di, hn::IfThenElseZero(blended, sides[k])), di, box[k]);
  hn::Store(hn::ConvertTo(di, hn::IfThenElseZero(visible, hn::Min(radius, set(1073741824.0f)))), di, radii);
  hn::Store(hn::BitCast(di, v.mean.z), di, depths);
  for (size_t lane = 0; lane < count; ++lane) {
    const int64_t i = first + static_cast<int64_t>(lane);
    float* out = &context.gaussians[i].x;
    for (int k = 0; k < 3; ++k) std::memcpy(out + 4 * k, quarters[k][lane], sizeof(quarters[k][lane]));
    context.boxes[i] = {static_cast<uint16_t>(box[0][lane]), static_cast<uint16_t>(box[1][lane]),
                        static_cast<uint16_t>(box[2][lane]), static_cast<uint16_t>(box[3][lane]), 0};
    context.depth_bits[i] = static_cast<uint32_t>(depths[lane]);
    if (f.radii) f.radii[i] = radii[lane];
  }
}

void project_range(const RasterizeForward& f, RasterizerContext& context, int64_t begin, int64_t end) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(D()));
  for (int64_t i = begin; i < end; i += lanes)
    project_lanes(f, context, i, static_cast<size_t>(std::min(lanes, end - i)));
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eg4d::cpu {
namespace {
HWY_EXPORT(project_range);
}  // namespace

void project(const RasterizeForward& forward, RasterizerContext& context, int64_t begin, int64_t end) {
  HWY_DYNAMIC_DISPATCH(project_range)(forward, context, begin, end);
}

}  // namespace eg4d::cpu
#endif
