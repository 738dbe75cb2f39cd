#pragma once

#include <cstdint>

#include "backend/splat_ops.h"

namespace eg4d::cpu {

// Sorts the `count` points named by `points` along a Z-order curve through the field's box (Morton 1966), so
// that points that share texels follow one another while these are in the cache. Stable.
void sort_along_curve(const HexPlane& field, int64_t count, int32_t* points);

}  // namespace eg4d::cpu
