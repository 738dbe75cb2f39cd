#pragma once

// The operations of networks and of sampling.

#include <cuda_runtime_api.h>

#include <memory>

#include "backend/cuda/memory.h"
#include "backend/cuda/networks/weight_store.h"
#include "backend/operations.h"

namespace eg4d::cuda {

class NetworkRunner {
 public:
  NetworkRunner(Memory& memory, cudaStream_t stream);
  ~NetworkRunner();
  NetworkRunner(const NetworkRunner&) = delete;
  NetworkRunner& operator=(const NetworkRunner&) = delete;

  // Is it one of them, and here?
  static bool has(const Operation& operation);

  // Finds how to do it and returns how much scratch memory that takes. Only here is anything allocated.
  size_t prepare(const Operation& operation);
  // After it was prepared: nothing but launches. In a WeightStore::Pass where weights are streamed.
  void enqueue(const Operation& operation, void* scratch);

  std::shared_ptr<const PackedWeight> pack(const LinearWeight& weight);
  std::shared_ptr<const PackedWeight> pack(const ConvolutionWeight& weight);

  WeightStore& weights();  // that were packed
  const WeightStore& weights() const;

  // Are the libraries there that every network needs?
  static bool libraries_are_there();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace eg4d::cuda
