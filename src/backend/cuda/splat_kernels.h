#pragma once

// The GPU's kernels of the operations on Gaussians besides the rasteriser; each is in the file of its name.
// They enqueue work and wait for nothing. What changes from iteration to iteration is read from device
// memory, so that a CUDA graph of an iteration can be replayed.

#include <cuda_runtime_api.h>

#include <span>

#include "backend/splat_ops.h"

namespace eg4d::cuda {

// `camera_center` [3] in device memory takes the place of color.camera_center.
void sh_color_forward(const ShColor& color, const float* camera_center, cudaStream_t stream);
void sh_color_backward(const ShColor& color, const float* camera_center, cudaStream_t stream);

// `time`: one float in device memory in the place of field.time; not read where field.times is given.
void hexplane_forward(const HexPlane& field, const float* time, cudaStream_t stream);
// Bytes of device memory (aligned to 256) that hexplane_backward works in.
size_t hexplane_backward_workspace_bytes(const HexPlaneLayout& layout, int64_t count);
void hexplane_backward(const HexPlane& field, const float* time, void* workspace, cudaStream_t stream);

void gaussian_activation_forward(const GaussianActivation& activation, cudaStream_t stream);
void gaussian_activation_backward(const GaussianActivationBackward& backward, cudaStream_t stream);

// How the network's products are computed: f32's accuracy (three products of tf32); tf32's (relative errors of
// about 3e-4), a third of the arithmetic; or bf16's (about 3e-3), with f32 sums and activations kept in bf16, in
// one kernel per direction. A network whose layers differ in width, or a GPU with less than 227 KB of shared
// memory a block, takes tf32 instead of bf16. One precision for both directions.
enum class MatrixPrecision { f32, tf32, bf16 };
// Bytes of device memory (aligned to 256) that the network works in.
size_t deformation_network_workspace_bytes(const DeformationNetwork& network, MatrixPrecision precision,
                                           bool backward);
void deformation_network_forward(const DeformationNetwork& network, MatrixPrecision precision,
                                 void* workspace, cudaStream_t stream);
void deformation_network_backward(const DeformationNetwork& network, MatrixPrecision precision,
                                  void* workspace, cudaStream_t stream);

// Bytes of device memory (aligned to 256) that image_loss works in.
size_t image_loss_workspace_bytes(int width, int height);
void image_loss(const ImageLoss& loss, void* workspace, cudaStream_t stream);

// What changes from step to step.
struct AdamRate {
  double learning_rate;
  int64_t step;  // 1 for the first
};
// One step on each of up to kMostAdamTensors tensors in one launch. `rates` [tensors.size()] in device memory
// takes the place of learning_rate and step.
inline constexpr size_t kMostAdamTensors = 32;
void adam(std::span<const Adam> tensors, const AdamRate* rates, cudaStream_t stream);
// `rate`: one, in the place of a.adam's.
void hexplane_adam(const HexPlaneAdam& a, const AdamRate* rate, cudaStream_t stream);

}  // namespace eg4d::cuda
