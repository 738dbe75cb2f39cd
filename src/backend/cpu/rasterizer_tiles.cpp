#include <algorithm>
#include <bit>
#include <utility>

#include "backend/cpu/rasterizer.h"
#include "core/error.h"
#include "core/threads.h"

namespace eg4d::cpu {
namespace {

constexpr int kDigitBits = 11;

// The depth order is that of the bits of the (positive) float, ties by index: least significant digit first,
// over those digits in which the depths differ. Returns the sorted array, one of the two.
uint64_t* sort_by_depth(uint64_t* keys, uint64_t* other, int64_t count) {
  uint64_t smallest = ~uint64_t{0}, largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    smallest = std::min(smallest, keys[i]);
    largest = std::max(largest, keys[i]);
  }
  const uint64_t base = smallest >> 32;
  const uint64_t range = (largest >> 32) - base;
  for (int shift = 0; (range >> shift) != 0; shift += kDigitBits) {
    int64_t begin[1 << kDigitBits] = {};
    const auto digit = [&](uint64_t key) {
      return (((key >> 32) - base) >> shift) & ((1 << kDigitBits) - 1);
    };
    for (int64_t i = 0; i < count; ++i) ++begin[digit(keys[i])];
    int64_t sum = 0;
    for (int64_t& entry : begin) sum += std::exchange(entry, sum);
    for (int64_t i = 0; i < count; ++i) other[begin[digit(keys[i])]++] = keys[i];
    std::swap(keys, other);
  }
  return keys;
}

}  // namespace

void sort_into_tiles(int64_t count, RasterizerContext& context) {
  uint64_t* keys = context.order.resize(count);
  uint64_t* other = context.order_scratch.resize(count);
  context.first_slot.resize(count);
  int64_t seen = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (context.boxes[i].area() == 0) continue;
    const uint64_t depth = std::bit_cast<uint32_t>(context.gaussians[i].depth);
    keys[seen++] = depth << 32 | static_cast<uint64_t>(i);
  }
  const uint64_t* order = seen > 0 ? sort_by_depth(keys, other, seen) : keys;

  int64_t pair_count = 0;
  for (int64_t k = 0; k < seen; ++k) {
    const auto i = static_cast<uint32_t>(order[k]);
    context.first_slot[i] = static_cast<int32_t>(pair_count);
    pair_count += context.boxes[i].area();
    if (pair_count > INT32_MAX)
      throw Error(
          "the Gaussians cover more than 2^31 image tiles in all; they are too large for this picture");
  }
  context.pairs_in_use = pair_count;
  TilePair* pairs = context.pairs.resize(pair_count);
  context.touched.resize(pair_count);

  // Each chunk of the depth order counts its pairs per tile, the counts become positions, each chunk fills
  // its own.
  const int tiles = context.tiles();
  const int64_t chunks = std::clamp<int64_t>(seen / 4096, 1, thread_count());
  const auto chunk_first = [&](int64_t chunk) { return seen * chunk / chunks; };
  int32_t* positions = context.chunk_begin.resize(chunks * tiles);
  int32_t* tile_begin = context.tile_begin.resize(tiles + 1);
  const auto for_each_pair = [&](int64_t chunk, auto&& visit) {
    for (int64_t k = chunk_first(chunk); k < chunk_first(chunk + 1); ++k) {
      const auto i = static_cast<uint32_t>(order[k]);
      const TileBox box = context.boxes[i];
      int32_t slot = context.first_slot[i];
      for (int y = box.y0; y < box.y1; ++y)
        for (int x = box.x0; x < box.x1; ++x)
          visit(y * context.tiles_x + x, TilePair{static_cast<int32_t>(i), slot++});
    }
  };
  parallel_for(chunks, 1, [&](int64_t chunk, int64_t) {
    int32_t* own = positions + chunk * tiles;
    std::fill_n(own, tiles, 0);
    for_each_pair(chunk, [&](int tile, TilePair) { ++own[tile]; });
  });
  int32_t position = 0;
  for (int tile = 0; tile < tiles; ++tile) {
    tile_begin[tile] = position;
    for (int64_t chunk = 0; chunk < chunks; ++chunk)
      position += std::exchange(positions[chunk * tiles + tile], position);
  }
  tile_begin[tiles] = position;
  parallel_for(chunks, 1, [&](int64_t chunk, int64_t) {
    int32_t* own = positions + chunk * tiles;
    for_each_pair(chunk, [&](int tile, TilePair pair) { pairs[own[tile]++] = pair; });
  });
}

}  // namespace eg4d::cpu
