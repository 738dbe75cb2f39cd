// Sorts the Gaussians by depth once and then deals them out to the tiles in that order.

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "backend/cpu/ordering.h"
#include "backend/cpu/rasterizer.h"
#include "core/error.h"
#include "core/threads.h"

namespace eg4d::cpu {
namespace {

// The Gaussians that some tile may show, in index order, and the places of their partial sums.
int64_t number_pairs(int64_t count, RasterizerContext& context) {
  struct Share {
    int64_t seen = 0, pairs = 0;
  };
  std::vector<Share> shares(static_cast<size_t>(thread_count()));
  parallel_team([&](const Team& team) {
    const int64_t begin = team.begin(count), end = team.end(count);
    Share own;
    for (int64_t i = begin; i < end; ++i) {
      const int area = context.boxes[i].area();
      own.seen += area != 0;
      own.pairs += area;
    }
    shares[static_cast<size_t>(team.number)] = own;
    team.wait();
    Share before;
    for (int t = 0; t < team.number; ++t) {
      before.seen += shares[static_cast<size_t>(t)].seen;
      before.pairs += shares[static_cast<size_t>(t)].pairs;
    }
    uint64_t* order = context.order.data() + before.seen;
    for (int64_t i = begin; i < end; ++i) {
      TileBox& box = context.boxes[i];
      box.first_slot = static_cast<int32_t>(before.pairs);
      before.pairs += box.area();
      if (box.area() != 0) *order++ = uint64_t{context.depth_bits[i]} << 32 | static_cast<uint64_t>(i);
    }
  });
  Share all;
  for (const Share& share : shares) {
    all.seen += share.seen;
    all.pairs += share.pairs;
  }
  if (all.pairs > INT32_MAX)
    throw Error(
        "the Gaussians cover more than 2^31 tiles of the picture in all: they are far too large for it");
  context.pairs_in_use = all.pairs;
  return all.seen;
}

// Adds one to the counts of a box of tiles, as differences along both axes; sum_up makes counts of them.
void add_box(const TileBox& box, int stride, int32_t* differences) {
  ++differences[box.y0 * stride + box.x0];
  --differences[box.y0 * stride + box.x1];
  --differences[box.y1 * stride + box.x0];
  ++differences[box.y1 * stride + box.x1];
}
void sum_up(int rows, int stride, int32_t* differences) {
  for (int y = 0; y < rows; ++y) {
    int32_t* row = differences + y * stride;
    for (int x = 1; x < stride; ++x) row[x] += row[x - 1];
    if (y == 0) continue;
    for (int x = 0; x < stride; ++x) row[x] += row[x - stride];
  }
}

// Those with most pairs come first, so that threads finish together; of about as many in order.
void order_tiles(RasterizerContext& context) {
  const int32_t* begin = context.tile_begin.data();
  int32_t* order = context.tile_order.resize(context.tiles());
  const auto size_class = [&](int tile) {
    return 32 - std::bit_width(static_cast<uint32_t>(begin[tile + 1] - begin[tile]));
  };
  int32_t next[33] = {};
  for (int tile = 0; tile < context.tiles(); ++tile) ++next[size_class(tile)];
  int32_t sum = 0;
  for (int32_t& entry : next) sum += std::exchange(entry, sum);
  for (int tile = 0; tile < context.tiles(); ++tile) order[next[size_class(tile)]++] = tile;
}

}  // namespace

void sort_into_tiles(int64_t count, RasterizerContext& context) {
  uint64_t* keys = context.order.resize(count);
  uint64_t* other = context.order_scratch.resize(count);
  const int64_t seen = number_pairs(count, context);
  const uint64_t* order = sort_by_upper_half(keys, other, seen);
  TilePair* pairs = context.pairs.resize(context.pairs_in_use);
  context.touched.resize(context.pairs_in_use);
  TileBox* boxes = context.sorted_boxes.resize(seen);

  // Each chunk of the depth order counts its pairs per tile, the counts become positions, each chunk fills
  // its own: the result does not depend on the number of chunks.
  const int stride = context.tiles_x + 1, rows = context.tiles_y + 1;  // room for the far ends of the boxes
  const int64_t chunks = std::clamp<int64_t>(seen / 1024, 1, thread_count());
  const auto first_of = [&](int64_t chunk) { return seen * chunk / chunks; };
  int32_t* positions = context.chunk_begin.resize(chunks * stride * rows);
  parallel_for(chunks, 1, [&](int64_t chunk, int64_t) {
    int32_t* own = positions + chunk * stride * rows;
    std::fill_n(own, stride * rows, 0);
    for (int64_t k = first_of(chunk); k < first_of(chunk + 1); ++k) {
      boxes[k] = context.boxes[static_cast<uint32_t>(order[k])];
      add_box(boxes[k], stride, own);
    }
    sum_up(rows, stride, own);
  });
  int32_t* tile_begin = context.tile_begin.resize(context.tiles() + 1);
  int32_t position = 0;
  for (int y = 0; y < context.tiles_y; ++y) {
    for (int x = 0; x < context.tiles_x; ++x) {
      *tile_begin++ = position;
      int32_t* counts = positions + y * stride + x;
      for (int64_t chunk = 0; chunk < chunks; ++chunk)
        position += std::exchange(counts[chunk * stride * rows], position);
    }
  }
  *tile_begin = position;
  order_tiles(context);
  parallel_for(chunks, 1, [&](int64_t chunk, int64_t) {
    int32_t* own = positions + chunk * stride * rows;
    for (int64_t k = first_of(chunk); k < first_of(chunk + 1); ++k) {
      const TileBox box = boxes[k];
      TilePair pair{static_cast<int32_t>(order[k]), box.first_slot};
      const int32_t end = pair.slot + box.area(), next_row = stride - (box.x1 - box.x0);
      int32_t* tile = own + box.y0 * stride + box.x0;
      for (int x = box.x0; pair.slot < end; ++pair.slot) {
        pairs[(*tile)++] = pair;
        const bool row_ends = ++x == box.x1;
        tile += row_ends ? next_row + 1 : 1;
        x = row_ends ? box.x0 : x;
      }
    }
  });
}

}  // namespace eg4d::cpu
