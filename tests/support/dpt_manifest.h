#pragma once

#include <array>
#include <vector>

#include "support/manifest.h"

namespace eg4d::test {

// The sizes of a DPT-Hybrid network; the defaults are those of Intel/dpt-hybrid-midas.
struct DptSizes {
  struct Stage {
    int64_t middle, out, blocks;
  };
  int64_t stem = 64;
  std::array<Stage, 3> stages = {Stage{64, 256, 3}, Stage{128, 512, 4}, Stage{256, 1024, 9}};
  int64_t width = 768, inner = 3072, grid = 24, blocks = 12;
  std::array<int64_t, 2> reassembled = {768, 768};
  int64_t fusion = 256, head_first = 128, head_second = 32;
};
// Names and shapes, written down from the network's description.
Manifest dpt_manifest(const DptSizes& sizes = {});

// Random weights in a folder with a config.json: a network for pictures of 64×64.
void write_tiny_depth_model(const std::filesystem::path& folder);

}  // namespace eg4d::test
