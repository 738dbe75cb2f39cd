#pragma once

// Convolutions: a kernel of one pixel is a product; others are cuDNN's, in 16 bits or TF32; in exact f32, and
// where cuDNN has nothing, what lies under the kernel is written out and multiplied.

#include <cuda_runtime_api.h>

#include <compare>
#include <map>
#include <optional>
#include <string>

#include "backend/cuda/networks/cudnn_graph.h"
#include "backend/cuda/networks/layers.h"

namespace eg4d::cuda {

class Convolutions {
 public:
  // fused: cuDNN adds bias and residual, and applies ReLU; plain: a second kernel does; columns: no cuDNN.
  enum class Way : uint8_t { fused, plain, columns };

  Convolutions(Memory& memory, cudaStream_t stream, Layers& layers, Choices& choices);

  void run(const Convolution& a, Pieces& pieces);
  void run(const ConvolutionBackward& a, Pieces& pieces);

  void prefer(Way way) { way_ = way; }          // for benchmarks: the best way to try
  std::string engine_of(const Convolution& a);  // "columns", or cuDNN's

 private:
  struct Shape {
    int64_t batch, height, width, in, out, kernel_height, kernel_width, stride, dilation;
    int64_t pad_top, pad_bottom, pad_left, pad_right, alignment;
    DType type;
    bool bias, residual, relu, fused;  // what is done to the result, and whether cuDNN may do it
    int64_t out_height() const {
      return convolution_extent(height, kernel_height, pad_top, pad_bottom, stride, dilation);
    }
    int64_t out_width() const {
      return convolution_extent(width, kernel_width, pad_left, pad_right, stride, dilation);
    }
    auto operator<=>(const Shape&) const = default;
  };
  struct Arrays {
    const void *x, *w, *bias, *residual;  // bias and residual: null where the graph has none
    void* y;
  };

  // What is done for a shape: nothing where cuDNN has no engine.
  struct Found {
    std::optional<CudnnPlan> plan;
    bool fused = false;  // bias and residual are part of it
  };

  // By the fastest way that cuDNN has an engine for.
  const Found& plan_for(const Convolution& a);
  Found find(const Shape& shape);
  std::vector<CudnnPlan> engines(const Shape& shape, size_t most);
  static std::vector<CudnnObject> graph(const Shape& shape);
  static bool is_large(const Shape& shape);
  static std::string text(const Shape& shape);
  size_t fastest(const std::vector<CudnnPlan>& plans, size_t fused, const Shape& shape);
  void execute(const CudnnPlan& plan, const Arrays& arrays, void* workspace);
  void run_planned(const Convolution& a, const CudnnPlan& plan, bool fused, Pieces& pieces);
  void run_columns(const Convolution& a, Pieces& pieces);
  CudnnHandle& handle();

  Memory& memory_;
  cudaStream_t stream_;
  Layers& layers_;
  Choices& choices_;
  Way way_ = Way::fused;
  std::optional<CudnnHandle> handle_;
  std::map<Shape, Found> plans_;
};

}  // namespace eg4d::cuda
