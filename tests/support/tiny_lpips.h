#pragma once

#include <filesystem>

#include "vision/lpips.h"

namespace eg4d::test {

// LPIPS with few channels and random weights.
struct TinyLpips {
  WeightMap backbone, heads;
};
TinyLpips tiny_lpips(Lpips::Network network, uint32_t seed = 1);

// The same as the published files (alexnet-owt-7be5be79.pth with a classifier beside, alex.pth, …).
void write_tiny_lpips(Lpips::Network network, const std::filesystem::path& folder);

}  // namespace eg4d::test
