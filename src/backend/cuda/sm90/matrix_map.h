#pragma once

// Descriptions of matrices of 16-bit numbers for the engine that copies tiles.

#include <cuda.h>
#include <cuda_runtime_api.h>

#include "backend/cuda/check.h"
#include "core/dtype.h"

namespace eg4d::cuda {

using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

// Of the driver; null where it is too old.
inline EncodeTiled encoder() {
  static const EncodeTiled function = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult status{};
#if CUDART_VERSION >= 12050
    const cudaError_t error =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &status);
#else
    const cudaError_t error =
        cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &found, cudaEnableDefault, &status);
#endif
    if (error != cudaSuccess || status != cudaDriverEntryPointSuccess) {
      cudaGetLastError();
      found = nullptr;
    }
    return reinterpret_cast<EncodeTiled>(found);
  }();
  return function;
}

// In tiles of so many rows and 64 columns; zeros outside.
inline CUtensorMap describe_matrix(const void* data, DType type, int64_t rows, int64_t columns,
                                   uint32_t tile_rows) {
  const cuuint64_t extents[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(columns) * 2};
  const cuuint32_t box[] = {64, tile_rows}, steps[] = {1, 1};
  CUtensorMap map{};
  const CUresult result = encoder()(
      &map, type == DType::f16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2,
      const_cast<void*>(data), extents, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) fail("the GPU failed while describing a matrix to it");
  return map;
}

}  // namespace eg4d::cuda
