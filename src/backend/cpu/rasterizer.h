#pragma once

// What the stages of the CPU rasteriser hand to each other.
//
// forward:  project every Gaussian → sort by depth → lists of Gaussians per tile → blend every tile
// backward: every tile from back to front → one partial sum per (Gaussian, tile) pair → per Gaussian, the
//           sum of its partial sums in the order of its tiles, then back through the projection
// Every stage is a loop over independent items with a fixed order inside, so the bits do not depend on the
// threads.

#include <cstdint>

#include "backend/cpu/device_array.h"
#include "backend/splat_ops.h"

namespace eg4d::cpu {

inline constexpr int kTile = 16;         // pixels along a tile's side
inline constexpr int kBlock = 4;         // pixels along the side of a block, the unit of work inside a tile
inline constexpr int kBlocks = 16;       // blocks in a tile, row by row
inline constexpr int kBlockPixels = 16;  // pixels in a block, row by row
inline constexpr int kTilePixels = kTile * kTile;
inline constexpr int kPartial = 16;  // floats per partial sum: one cache line

inline constexpr float kAlphaMax = 0.99f;
inline constexpr float kTransmittanceMin = 1e-4f;

// A Gaussian in the image, in the form that blending reads; one cache line. With d = mean - pixel,
//   log2(alpha) = log2_opacity - fall,  fall = xx·dx² + xy·dx·dy + yy·dy²,
// and alpha reaches 1/255 where fall < reach. xx, xy and yy are the conic (the inverse of the 2D covariance)
// times log2(e)/2, log2(e) and log2(e)/2.
struct alignas(64) ScreenGaussian {
  float x, y;  // pixel
  float xx, xy, yy;
  float log2_opacity, reach;
  float
      safe_reach;  // reach plus what rounding can do to `fall` anywhere; beyond it nothing need be looked at
  float color[3];
  float depth;  // view z
  float unused[4];
};

// The tiles [x0,x1) × [y0,y1) where a Gaussian may be seen, and where its partial sums begin.
struct TileBox {
  uint16_t x0, y0, x1, y1;
  int32_t first_slot;
  int area() const { return (x1 - x0) * (y1 - y0); }
};

struct TilePair {
  int32_t gaussian;
  int32_t slot;  // partial sums are in the order Gaussian, tile
};

struct RasterizerContext final : RasterizeContext {
  explicit RasterizerContext(Memory& memory)
      : gaussians(memory),
        depth_bits(memory),
        boxes(memory),
        sorted_boxes(memory),
        order(memory),
        order_scratch(memory),
        tile_begin(memory),
        tile_order(memory),
        chunk_begin(memory),
        pairs(memory),
        touched(memory),
        transmittance(memory),
        stop(memory),
        partial(memory) {}
  void reserve(int64_t count, int width, int height) override;

  int tiles_x = 0, tiles_y = 0;
  int64_t pairs_in_use = 0;
  DeviceArray<ScreenGaussian> gaussians;  // [N]
  DeviceArray<uint32_t> depth_bits;   // [N] view z, whose order as an integer is that of the (positive) float
  DeviceArray<TileBox> boxes;         // [N]
  DeviceArray<TileBox> sorted_boxes;  // of those with a tile, front to back
  DeviceArray<uint64_t> order, order_scratch;  // like it: depth bits << 32 | Gaussian
  DeviceArray<int32_t> tile_begin;             // [tiles+1] into pairs
  DeviceArray<int32_t> tile_order;             // [tiles] those with most pairs first
  DeviceArray<int32_t> chunk_begin;            // [chunks, tiles]
  DeviceArray<TilePair> pairs;                 // tile by tile, front to back
  DeviceArray<uint16_t> touched;               // [pairs] bit b: block b of the tile has a pixel in reach
  DeviceArray<float> transmittance;            // [tiles, kBlocks, kBlockPixels] at the end
  DeviceArray<int32_t> stop;                   // like it: position in the tile's list where the pixel stopped
  DeviceArray<float> partial;                  // [slots, kPartial]

  int tiles() const { return tiles_x * tiles_y; }
};

// Sums over pixels that a partial sum holds; g is the gradient with respect to ln(alpha), w the blending
// weight.
enum PartialSum { kG, kGx, kGy, kGxx, kGxy, kGyy, kWr, kWg, kWb, kPartialSums };

// rasterizer_projection.cpp: Gaussians [begin, end).
void project(const RasterizeForward& forward, RasterizerContext& context, int64_t begin, int64_t end);
// rasterizer_projection_backward.cpp
void project_backward(const RasterizeBackward& backward, const RasterizerContext& context, int64_t begin,
                      int64_t end);

// rasterizer_tiles.cpp
void sort_into_tiles(int64_t count, RasterizerContext& context);

// rasterizer_blend.cpp
void blend_tile(const RasterizeForward& forward, RasterizerContext& context, int tile);
void blend_tile_backward(const RasterizeBackward& backward, RasterizerContext& context, int tile);

}  // namespace eg4d::cpu
