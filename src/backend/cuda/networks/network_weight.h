#pragma once

#include <cuda_runtime_api.h>

#include "backend/cuda/networks/weight_store.h"
#include "backend/neural_ops.h"

namespace eg4d::cuda {

// [out,taps,in] in the type of the products' operands, whatever it was stored in; for fp8 numbers of 8 bits
// and a scale for each output (fp8.h).
class NetworkWeight final : public PackedWeight {
 public:
  NetworkWeight(Memory& memory, WeightStore& store, cudaStream_t stream, const LinearWeight& from);
  NetworkWeight(Memory& memory, WeightStore& store, cudaStream_t stream, const ConvolutionWeight& from);
  ~NetworkWeight() override;
  NetworkWeight(const NetworkWeight&) = delete;
  NetworkWeight& operator=(const NetworkWeight&) = delete;

  size_t bytes() const override { return bytes_; }
  int64_t taps() const { return extents.kernel_height * extents.kernel_width; }
  int64_t inputs() const { return extents.in * taps(); }  // of one output

  const DType operands;  // fp8: of what is made of them
  const bool tf32, fp8;
  const void* data() const { return small_ ? small_ : piece_.data(); }
  const WeightStore::Piece& piece() const { return piece_; }  // of a weight that is large enough to move
  // [out], or null: as f32, and in the operands' type.
  const float* bias() const { return bias_; }
  const void* bias_of_operands() const { return bias_of_operands_; }
  const float* scales() const { return scales_; }  // fp8: [out]

 private:
  // With nothing in it yet: what fails after this gives its memory back.
  NetworkWeight(Memory& memory, WeightStore& store, const Extents& extents, const NetworkType& type);
  void* allocate(size_t bytes);
  void* allocate_data(size_t bytes);
  void upload(cudaStream_t stream, const StoredWeight& from, DType rounded_to, int64_t columns, int64_t taps,
              Array to);
  void take(cudaStream_t stream, const StoredWeight& weight, const StoredWeight& bias,
            const NetworkType& type);
  void take_in_eight_bits(cudaStream_t stream, const StoredWeight& weight, const NetworkType& type);

  Memory& memory_;
  WeightStore& store_;
  size_t bytes_ = 0;
  WeightStore::Piece piece_;
  void *small_ = nullptr, *bias_of_operands_ = nullptr;
  float *bias_ = nullptr, *scales_ = nullptr;
};

inline const NetworkWeight& weight_of(const PackedWeight* weight) {
  return static_cast<const NetworkWeight&>(*weight);
}

}  // namespace eg4d::cuda
