#pragma once

// What the kernels of this folder share on the device.

#include "backend/cuda/networks/typed_arrays.cuh"
#include "backend/cuda/sm90/wgmma.cuh"

namespace eg4d::cuda {

constexpr int kGroup = 128;     // threads of a warpgroup
constexpr int kDepth = 64;      // numbers of a row of a tile in shared memory: 128 bytes
constexpr int kTileRows = 128;  // of what a block computes

// Where those who fetch and those who multiply are in a ring of stages.
struct Ring {
  int stages, stage = 0;
  uint32_t parity = 0;
  __device__ explicit Ring(int count) : stages(count) {}
  __device__ void next() {
    if (++stage == stages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// To 2.5e-5, and what the instruction's tanh is away: half of the last place of f16.
__device__ inline float gelu_by_tanh(float x) {
  const float square = fminf(x * x, 30.0f);
  const float u = x * fmaf(fmaf(-0.000351517442f, square, 0.0370056493f), square, 0.797507881f);
  float t;
  asm("tanh.approx.f32 %0, %1;" : "=f"(t) : "f"(u));
  const float half = 0.5f * x;
  return fmaf(half, t, half);
}

// Eight columns of a warpgroup's values and gates, of which a lane has two in each of two rows, to rows of
// 128 bytes in shared memory, swizzled as copies expect them; lanes of a warp write to different banks.
// `unit`: which eight of the row. The biases are those of the lane's columns.
template <bool kBfloat16>
__device__ inline void gate_eight(const float* values, const float* gates, float2 value_bias,
                                  float2 gate_bias, int unit, int thread, uint8_t* rows) {
  constexpr DType kType = kBfloat16 ? DType::bf16 : DType::f16;
  const int lane = thread % 32, row = thread / 32 * 16 + lane / 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int at = row + 8 * half;
    *reinterpret_cast<uint32_t*>(rows + at * 128 + (unit ^ (at % 8)) * 16 + lane % 4 * 4) = narrow_pair(
        (values[2 * half] + value_bias.x) * gelu_by_tanh(gates[2 * half] + gate_bias.x),
        (values[2 * half + 1] + value_bias.y) * gelu_by_tanh(gates[2 * half + 1] + gate_bias.y), kType);
  }
}

}  // namespace eg4d::cuda
