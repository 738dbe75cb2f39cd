#pragma once

// What the implementations of the deformation network share.

#include <cuda_runtime_api.h>

#include <cstdint>

#include "backend/cuda/splat_kernels.h"

namespace eg4d::cuda {

// to[i] += Σ_p from[p·stride + i of its rows], p < parts: a row of `width` floats lies every `pitch` floats.
struct Sum {
  float* to;
  const float* from;
  int64_t count, width, pitch, stride, parts;
};
inline constexpr int kMostSums = 64;
struct Sums {
  Sum sum[kMostSums];
  int count = 0;
  void add(const Sum& one) {
    if (one.to) sum[count++] = one;
  }
};
void add_parts(const Sums& sums, cudaStream_t stream);

// deformation_network_bf16.cu: for networks whose layers have one width, on GPUs with its shared memory.
// `activations` holds bf16, in half of the memory that f32 takes.
bool bf16_fits(const Mlp& network);
size_t bf16_activation_bytes(const Mlp& network);
size_t bf16_workspace_bytes(const Mlp& network, bool backward);
void bf16_forward(const Mlp& network, void* workspace, cudaStream_t stream);
void bf16_backward(const Mlp& network, void* workspace, cudaStream_t stream);

// deformation_network_hopper.cu: the same on Hopper GPUs, for f32 too: `parts` of bf16 a number, 1 or 2.
bool hopper_fits(const Mlp& network);
size_t hopper_activation_bytes(const Mlp& network, int parts);
size_t hopper_workspace_bytes(const Mlp& network, int parts, bool backward);
void hopper_forward(const Mlp& network, int parts, void* workspace, cudaStream_t stream);
void hopper_backward(const Mlp& network, int parts, void* workspace, cudaStream_t stream,
                     const StreamBeside& beside);

}  // namespace eg4d::cuda
