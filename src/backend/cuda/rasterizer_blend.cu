// Every cell from front to back, one warp a cell and one pixel a lane. Warps do not wait for each other.

#include "backend/cuda/check.h"
#include "backend/cuda/rasterizer_warp.cuh"

namespace eg4d::cuda {
namespace {

constexpr int kTogether = 8;  // Gaussians

// What a pixel has come to. It is done once a Gaussian would bring the transmittance below its least.
struct Pixel {
  float transmittance = 1, red = 0, green = 0, blue = 0, depth = 0;
  uint32_t last = 0;
  bool done;

  // A Gaussian that leaves the transmittance `next`; nothing where alpha is 0.
  __device__ void add(float alpha, const float4& b, const float4& c, float next, uint32_t position) {
    const float weight = alpha * transmittance;
    red = fmaf(weight, c.x, red);
    green = fmaf(weight, c.y, green);
    blue = fmaf(weight, c.z, blue);
    depth = fmaf(weight, b.w, depth);
    transmittance = next;
    if (alpha > 0) last = position;
  }
};

// Alpha where the Gaussian is in reach, and elsewhere 0, with which blending changes nothing.
__device__ float alpha_at(const float4& a, const float4& b, float x, float y) {
  const Fall fall = fall_at(a, b, x, y);
  return fall.in_reach ? fminf(exp2_fast(b.y - fall.value), kAlphaMax) : 0;
}

__device__ void blend_one(float alpha, const float4& b, const float4& c, uint32_t position, Pixel& p) {
  if (alpha == 0 || p.done) return;
  const float next = __fmaf_rn(-alpha, p.transmittance, p.transmittance);
  if (next < kTransmittanceMin) {
    p.done = true;
    return;
  }
  p.add(alpha, b, c, next, position);
}

// Gaussians from the k-th staged one on, the first of which is the (position + 1)-th of the list. Returns
// whether all pixels are done. Only the transmittance passes from one Gaussian to the next, so where no pixel
// comes to its end among them, nothing else waits.
__device__ bool blend_some(const Stage& stage, int k, float x, float y, uint32_t position, Pixel& p) {
  float alpha[kTogether], next[kTogether];
#pragma unroll
  for (int j = 0; j < kTogether; ++j) alpha[j] = p.done ? 0 : alpha_at(stage.a[k + j], stage.b[k + j], x, y);
  float least = p.transmittance;
#pragma unroll
  for (int j = 0; j < kTogether; ++j) next[j] = least = __fmaf_rn(-alpha[j], least, least);
  if (__all_sync(kAllLanes, least >= kTransmittanceMin)) {
#pragma unroll
    for (int j = 0; j < kTogether; ++j)
      p.add(alpha[j], stage.b[k + j], stage.c[k + j], next[j], position + static_cast<uint32_t>(j) + 1);
    return false;
  }
#pragma unroll
  for (int j = 0; j < kTogether; ++j)
    blend_one(alpha[j], stage.b[k + j], stage.c[k + j], position + static_cast<uint32_t>(j) + 1, p);
  return __all_sync(kAllLanes, p.done);
}

__device__ void blend_list(const RasterizerWorkspace& w, const CellPixel& place, int lane, Stage& stage,
                           Pixel& p) {
  const uint2 range = w.cell_range[place.cell];
  const float x = static_cast<float>(place.x), y = static_cast<float>(place.y);
  // The next Gaussians are on their way while these are blended, and the numbers of those after them.
  const auto number = [&](uint32_t at) { return at < range.y ? w.gaussian[at] : 0; };
  const auto quads = [&](uint32_t at, uint32_t gaussian) {
    return at < range.y ? load_quads(w.gaussians, gaussian) : no_quads();
  };
  uint32_t at = range.x + static_cast<uint32_t>(lane);
  Quads next = quads(at, number(at));
  uint32_t next_number = number(at + kWarp);
  for (uint32_t first = range.x; first < range.y; first += kWarp) {
    stage.put(lane, next);
    at += kWarp;
    next = quads(at, next_number);
    next_number = number(at + kWarp);
    const int size = static_cast<int>(min(range.y - first, static_cast<uint32_t>(kWarp)));
    for (int k = 0; k < size; k += kTogether)  // those beyond the end reach nothing
      if (blend_some(stage, k, x, y, first - range.x + static_cast<uint32_t>(k), p)) return;
  }
}

__global__ void __launch_bounds__(kBlendThreads) blend_kernel(RasterizeForward f, RasterizerWorkspace w) {
  __shared__ Stage stages[kWarps];
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const CellPixel place = cell_pixel(w, f.count > 0, warp, lane);
  if (place.cell < 0) return;
  Pixel p;
  p.done = !place.inside;
  blend_list(w, place, lane, stages[warp], p);
  w.transmittance[place.cell * kWarp + lane] = p.transmittance;
  w.last[place.cell * kWarp + lane] = p.last;
  if (!place.inside) return;
  float* image = f.image + 3 * place.index;
  image[0] = fmaf(p.transmittance, f.camera->background[0], p.red);
  image[1] = fmaf(p.transmittance, f.camera->background[1], p.green);
  image[2] = fmaf(p.transmittance, f.camera->background[2], p.blue);
  if (f.depth) f.depth[place.index] = p.depth;
  if (f.alpha) f.alpha[place.index] = 1 - p.transmittance;
}

}  // namespace

void blend(const RasterizeForward& forward, const RasterizerWorkspace& workspace, cudaStream_t stream) {
  blend_kernel<<<blend_blocks(workspace.size), kBlendThreads, 0, stream>>>(forward, workspace);
  check_launch("blending");
}

}  // namespace eg4d::cuda
