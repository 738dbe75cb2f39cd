#pragma once

#include <array>
#include <cstdint>

namespace eg4d {

// The U-blocks on the way down; those on the way up mirror all but the last. Block i of a stage's way down
// has `height` convolutions. Of a dilated block (RSU-4F), no part is pooled.
struct U2NetStage {
  int height;
  bool dilated;
};
inline constexpr std::array<U2NetStage, 6> kU2NetStages = {
    {{7, false}, {6, false}, {5, false}, {4, false}, {4, true}, {4, true}}};

// Of convolution i on the way down (from 0) and up.
constexpr int64_t down_dilation(const U2NetStage& stage, int i) {
  if (stage.dilated) return int64_t{1} << i;
  return i == stage.height - 1 ? 2 : 1;
}
constexpr int64_t up_dilation(const U2NetStage& stage, int i) {
  return stage.dilated ? int64_t{1} << i : 1;
}

}  // namespace eg4d
