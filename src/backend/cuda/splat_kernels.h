#pragma once

// The GPU's kernels of the operations on Gaussians besides the rasteriser; each is in the file of its name.
// They enqueue work and wait for nothing. What changes from iteration to iteration is read from device
// memory, so that a CUDA graph of an iteration can be replayed.

#include <cuda_runtime_api.h>

#include <span>
#include <vector>

#include "backend/density_ops.h"
#include "backend/memory_ops.h"
#include "backend/sampling_ops.h"
#include "backend/splat_ops.h"

namespace eg4d::cuda {

void sh_color_forward(const ShColor& color, cudaStream_t stream);
void sh_color_backward(const ShColorBackward& backward, cudaStream_t stream);

// Of contexts only the description is read.
void hexplane_forward(const HexPlane& field, cudaStream_t stream);
// Bytes of device memory (aligned to 256) that hexplane_backward works in.
size_t hexplane_backward_workspace_bytes(const HexPlaneLayout& layout, int64_t count);
void hexplane_backward(const HexPlaneBackward& backward, void* workspace, cudaStream_t stream);
// Its two parts, in the same workspace. The first reads points, box, grid and time alone, no derivatives.
void hexplane_backward_order(const HexPlaneBackward& backward, void* workspace, cudaStream_t stream);
void hexplane_backward_gradients(const HexPlaneBackward& backward, void* workspace, cudaStream_t stream);

void gaussian_activation_forward(const GaussianActivation& activation, cudaStream_t stream);
void gaussian_activation_backward(const GaussianActivationBackward& backward, cudaStream_t stream);

// A deformation network (DeformationNetworkLayout) with its arrays, both directions' in one.
struct DenseLayer {
  int in = 0, out = 0;
  const float* weight = nullptr;  // [out,in]
  const float* bias = nullptr;
  float* d_weight = nullptr;  // backward only; null = frozen
  float* d_bias = nullptr;
};
struct Mlp {
  struct Head {
    DenseLayer hidden, last;
    float* output = nullptr;          // [N, last.out]; heads without are not evaluated
    const float* d_output = nullptr;  // backward only; null: zeros
  };
  int64_t count = 0;
  const float* features = nullptr;  // [N, trunk[0].in]
  std::vector<DenseLayer> trunk;
  std::vector<Head> heads;
  void* activations = nullptr;  // [mlp_activation_bytes] kept for backward, or null in inference
  float* d_features = nullptr;  // [N, trunk[0].in], backward only
  bool any_gpu = false;         // without the kernels that are for Hopper alone
};
Mlp mlp_of(const DeformationNetwork& network, void* activations);
Mlp mlp_of(const DeformationNetworkBackward& backward, void* activations);

// How the network's products are computed: f32's accuracy (three products of tf32, or on Hopper of f16 and
// bf16); tf32's (relative errors of about 3e-4), a third of the arithmetic; or bf16's (about 3e-3), with f32
// sums and activations kept in bf16. On Hopper f32 and bf16, elsewhere bf16 are one kernel per direction and
// one for the weights' gradients; a network whose layers differ in width, or a GPU with less than 227 KB of
// shared memory a block, takes a kernel per layer, and tf32 instead of bf16. One precision for both
// directions.
enum class MatrixPrecision { f32, tf32, bf16 };
// Bytes of device memory (aligned to 256) that the network works in.
size_t mlp_workspace_bytes(const Mlp& network, MatrixPrecision precision, bool backward);
size_t mlp_activation_bytes(const Mlp& network);  // for any precision
void mlp_forward(const Mlp& network, MatrixPrecision precision, void* workspace, cudaStream_t stream);
// `beside` gives a stream that goes on from where `stream` is; the sums over Gaussians that give the weights'
// gradients may run there. The workspace belongs to them until they have ended.
struct StreamBeside {
  cudaStream_t (*give)(void* of) = nullptr;
  void* of = nullptr;
  explicit operator bool() const { return give != nullptr; }
  cudaStream_t operator()() const { return give(of); }
};
void mlp_backward(const Mlp& network, MatrixPrecision precision, void* workspace, cudaStream_t stream,
                  const StreamBeside& beside = {});

// Bytes of device memory (aligned to 256) that image_loss works in.
size_t image_loss_workspace_bytes(int width, int height);
void image_loss(const ImageLoss& loss, void* workspace, cudaStream_t stream);

// One step on each of up to kMostAdamTensors tensors in one launch.
inline constexpr size_t kMostAdamTensors = 32;
void adam(std::span<const Adam> tensors, cudaStream_t stream);
void hexplane_adam(const HexPlaneAdam& a, cudaStream_t stream);

// density.cu, with the CPU's bits.
void density_statistics(const DensityStatistics& statistics, cudaStream_t stream);
void decide_density(const DecideDensity& decide, cudaStream_t stream);
size_t density_rows_workspace_bytes(int64_t count);
void density_rows(const DensityRows& rows, void* workspace, cudaStream_t stream);
void split_noise(const SplitNoise& noise, cudaStream_t stream);
void split_gaussians(const SplitGaussians& parts, cudaStream_t stream);

// Pieces that do not overlap.
inline constexpr size_t kMostFills = 16;
void fill_bytes(std::span<const FillBytes> fills, cudaStream_t stream);

// arrays.cu, with the CPU's bits.
void next_inputs(const NextInputs& next, cudaStream_t stream);
void resize_picture(const ResizePicture& resize, cudaStream_t stream);
void clamp_above(const ClampAbove& clamp, cudaStream_t stream);
void clamp_unit(const ClampUnit& clamp, cudaStream_t stream);
void clamp_unit_backward(const ClampUnitBackward& clamp, cudaStream_t stream);
void unit_to_bytes(const UnitToBytes& conversion, cudaStream_t stream);
void error_image(const ErrorImage& errors, cudaStream_t stream);
void move_towards(const MoveTowards& move, cudaStream_t stream);
void gather_rows(const GatherRows& gather, cudaStream_t stream);

}  // namespace eg4d::cuda
