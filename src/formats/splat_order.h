#pragma once

#include <cstdint>
#include <vector>

#include "io/ply.h"

namespace eg4d::splat {

// Rows in an order in which neighbours in space are near each other: by Morton code (Morton 1966) of their
// positions on a lattice of 2^21 steps across the bounding box. Of equal codes the earlier row comes first.
std::vector<uint32_t> morton_order(const GaussianCloud& cloud);

}  // namespace eg4d::splat
