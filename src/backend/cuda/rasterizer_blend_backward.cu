// Every cell from back to front: the derivatives of its pixels with respect to each of its Gaussians, summed
// over the cell. One warp a cell.
//
// Summing each of nine numbers over 32 lanes for every Gaussian would take longer than computing them. So the
// warp collects rows: for one Gaussian, (g, w) of the 32 pixels. When there are 16 rows, a lane takes one
// half of one Gaussian's row and adds up along it; there dx and dy are constants of the pixel, so that sums
// of g times their powers (about the cell's middle, moved to the mean at the end) cost three operations a
// pixel.

#include "backend/cuda/check.h"
#include "backend/cuda/rasterizer_warp.cuh"

namespace eg4d::cuda {
namespace {

constexpr int kRows = 16;
constexpr int kAhead = 4;   // Gaussians that are looked at before the pixel moves
constexpr int kBlocks = 8;  // on a multiprocessor: what the shared memory allows, so the registers should
constexpr int kHalf = kWarp / 2;  // pixels of a half row: two rows of the cell

// One warp's shared memory. The paddings keep the lanes of a load in different banks.
struct Rows {
  float2 values[kRows][kWarp + 1];  // g, w
  float4 gradient[kWarp + 1];       // of the image; the second half one further
  float2 mean[kRows];               // relative to the cell's middle
  uint32_t slot[kRows];
};

struct Pixel {
  float transmittance;  // in front of what was already visited
  float behind;         // what was visited and the background, dotted with the gradient
  float red, green, blue;
  uint32_t last;
};

__device__ int padded(int pixel) {
  return pixel + pixel / kHalf;
}

__device__ Pixel start(const RasterizeBackward& b, const RasterizeCamera& camera,
                       const RasterizerWorkspace& w, const CellPixel& place, int lane) {
  Pixel p{1, 0, 0, 0, 0, 0};
  if (!place.inside) return p;
  p.transmittance = w.transmittance[place.cell * kWarp + lane];
  p.last = w.last[place.cell * kWarp + lane];
  const float* gradient = b.d_image + 3 * place.index;
  p.red = gradient[0];
  p.green = gradient[1];
  p.blue = gradient[2];
  float along =
      fmaf(camera.background[0], p.red, fmaf(camera.background[1], p.green, camera.background[2] * p.blue));
  p.behind = along * p.transmittance;
  return p;
}

// What one Gaussian is at this pixel, which needs nothing of those behind it.
struct Visit {
  bool blended, by_any;
  float value, alpha, inverse, along_color;
};
__device__ Visit look_at(const Stage& stage, int k, float x, float y, bool reached, const Pixel& p) {
  const float4 b = stage.b[k], c = stage.c[k];
  const Fall fall = fall_at(stage.a[k], b, x, y);
  Visit v;
  v.blended = fall.in_reach && reached;
  v.by_any = __any_sync(kAllLanes, v.blended);
  v.value = exp2_fast(b.y - fall.value);
  v.alpha = fminf(v.value, kAlphaMax);
  v.inverse = __fdividef(1.0f, 1.0f - v.alpha);
  v.along_color = fmaf(c.x, p.red, fmaf(c.y, p.green, c.z * p.blue));
  return v;
}

// g and w, and the pixel moves in front of the Gaussian.
__device__ float2 move_before(const Visit& v, Pixel& p) {
  if (!v.blended) return make_float2(0, 0);
  p.transmittance *= v.inverse;
  const float weight = v.alpha * p.transmittance;
  const float d_alpha = fmaf(p.transmittance, v.along_color, -p.behind * v.inverse);
  p.behind = fmaf(weight, v.along_color, p.behind);
  return make_float2(v.value * d_alpha, weight);  // as published, the clamp is ignored
}

// Sums over half a row, about the cell's middle. Unrolled only so far that its loads do not take the
// registers that more warps need.
__device__ void add_up(const Rows& rows, int row, int half, float (&sums)[kPartialSums]) {
#pragma unroll 1
  for (int line = 0; line < 2; ++line) {
    float g = 0, gx = 0, gxx = 0;
#pragma unroll 4
    for (int column = 0; column < kCellWidth; ++column) {
      const int pixel = half * kHalf + line * kCellWidth + column;
      const float2 value = rows.values[row][pixel];
      const float4 gradient = rows.gradient[padded(pixel)];
      const float x = static_cast<float>(column) - 0.5f * (kCellWidth - 1);
      g += value.x;
      gx = fmaf(value.x, x, gx);
      gxx = fmaf(value.x, x * x, gxx);
      sums[kWr] = fmaf(value.y, gradient.x, sums[kWr]);
      sums[kWg] = fmaf(value.y, gradient.y, sums[kWg]);
      sums[kWb] = fmaf(value.y, gradient.z, sums[kWb]);
    }
    const float y = static_cast<float>(half * 2 + line) - 0.5f * (kCellHeight - 1);
    sums[kG] += g;
    sums[kGx] += gx;
    sums[kGxx] += gxx;
    sums[kGy] = fmaf(g, y, sums[kGy]);
    sums[kGxy] = fmaf(gx, y, sums[kGxy]);
    sums[kGyy] = fmaf(g, y * y, sums[kGyy]);
  }
}

// Writes the partial sums of the collected rows.
__device__ void flush(Rows& rows, int count, const RasterizerWorkspace& w, int lane) {
  __syncwarp();
  const int row = lane % kRows, half = lane / kRows;
  float sums[kPartialSums] = {};
  if (row < count) add_up(rows, row, half, sums);
#pragma unroll
  for (int k = 0; k < kPartialSums; ++k) sums[k] += __shfl_xor_sync(kAllLanes, sums[k], kRows);
  if (row < count) {
    const float x = rows.mean[row].x, y = rows.mean[row].y;
    // From about the cell's middle to d = mean - pixel.
    const float gx = fmaf(x, sums[kG], -sums[kGx]), gy = fmaf(y, sums[kG], -sums[kGy]);
    const float gxx = fmaf(x, gx - sums[kGx], sums[kGxx]);
    const float gxy = fmaf(y, gx, fmaf(-x, sums[kGy], sums[kGxy]));
    const float gyy = fmaf(y, gy - sums[kGy], sums[kGyy]);
    const uint32_t slot = rows.slot[row];
    float4* out = reinterpret_cast<float4*>(w.partial + int64_t{slot} * kPartial);
    if (half == 0) {
      out[0] = make_float4(sums[kG], gx, gy, gxx);
      w.touched[slot] = 1;
    } else {
      out[1] = make_float4(gxy, gyy, sums[kWr], sums[kWg]);
      reinterpret_cast<float*>(out)[8] = sums[kWb];
    }
  }
  __syncwarp();
}

__global__ void __launch_bounds__(kBlendThreads, kBlocks)
    blend_backward_kernel(RasterizeBackward b, RasterizerWorkspace w) {
  __shared__ Stage stages[kWarps];
  __shared__ Rows all_rows[kWarps];
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const CellPixel place = cell_pixel(w, true, warp, lane);
  if (place.cell < 0) return;
  Stage& stage = stages[warp];
  Rows& rows = all_rows[warp];
  Pixel p = start(b, *b.forward.camera, w, place, lane);
  rows.gradient[padded(lane)] = make_float4(p.red, p.green, p.blue, 0);
  const uint32_t begin = w.cell_range[place.cell].x, last = __reduce_max_sync(kAllLanes, p.last);
  const float x = static_cast<float>(place.x), y = static_cast<float>(place.y);
  const float middle_x = static_cast<float>(place.left) + 0.5f * (kCellWidth - 1);
  const float middle_y = static_cast<float>(place.top) + 0.5f * (kCellHeight - 1);
  int row = 0;
  // Lane k holds the k-th from the back of those that remain; `left` counts them.
  const auto holds = [&](uint32_t left) { return static_cast<uint32_t>(lane) < left; };
  const auto place_of = [&](uint32_t left) { return begin + left - 1 - static_cast<uint32_t>(lane); };
  const auto number = [&](uint32_t left) { return holds(left) ? w.gaussian[place_of(left)] : 0; };
  const auto quads = [&](uint32_t left, uint32_t gaussian) {
    return holds(left) ? load_quads(w.gaussians, gaussian) : no_quads();
  };
  const auto after = [](uint32_t left) { return left > kWarp ? left - kWarp : 0; };
  Quads next = quads(last, number(last));
  uint32_t next_number = number(after(last));
  for (uint32_t left = last; left > 0; left = after(left)) {
    stage.put(lane, next);
    const uint32_t slot = holds(left) ? w.slot[place_of(left)] : 0;
    next = quads(after(left), next_number);
    next_number = number(after(after(left)));
    const int size = static_cast<int>(min(left, static_cast<uint32_t>(kWarp)));
    for (int k = 0; k < size; k += kAhead) {
      Visit visits[kAhead];
#pragma unroll
      for (int j = 0; j < kAhead; ++j)  // those beyond the end reach nothing
        visits[j] = look_at(stage, k + j, x, y, left - static_cast<uint32_t>(k + j) <= p.last, p);
#pragma unroll
      for (int j = 0; j < kAhead; ++j) {
        if (!visits[j].by_any) continue;
        rows.values[row][lane] = move_before(visits[j], p);
        if (lane == k + j) {
          rows.mean[row] = make_float2(stage.a[lane].x - middle_x, stage.a[lane].y - middle_y);
          rows.slot[row] = slot;
        }
        ++row;
      }
      if (row + kAhead > kRows) {
        flush(rows, row, w, lane);
        row = 0;
      }
    }
  }
  if (row > 0) flush(rows, row, w, lane);
}

}  // namespace

void blend_backward(const RasterizeBackward& backward, const RasterizerWorkspace& workspace,
                    cudaStream_t stream) {
  blend_backward_kernel<<<blend_blocks(workspace.size), kBlendThreads, 0, stream>>>(backward, workspace);
  check_launch("blending backwards");
}

}  // namespace eg4d::cuda
