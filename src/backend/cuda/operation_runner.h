#pragma once

// Which kernel does an operation, and in what memory it works.

#include <cuda_runtime_api.h>

#include <span>

#include "backend/cuda/contexts.h"
#include "backend/cuda/networks/network_runner.h"
#include "backend/operations.h"

namespace eg4d::cuda {

// Throws NotOnThisDevice for what is not here yet.
void require_here(const Operation& operation);

class OperationRunner {
 public:
  OperationRunner(Memory& memory, cudaStream_t stream)
      : scratch_(memory), stream_(stream), networks_(memory, stream) {}

  // Prepares, enqueues, and for a rasterisation waits in between until its pairs are counted.
  void run(const Operation& operation);

  // What need not be done again while memory().moves() stays the same: makes room in the scratch memory and
  // in contexts. Only here is memory allocated.
  void prepare(const Operation& operation);
  // In order, with nothing but launches: may be captured in a graph. Without rasterisations, which consist of
  // two parts (RasterContext).
  void enqueue(std::span<const Operation> operations);

  NetworkRunner& networks() { return networks_; }
  const NetworkRunner& networks() const { return networks_; }

 private:
  Block scratch_;  // of one operation at a time
  cudaStream_t stream_;
  NetworkRunner networks_;
};

}  // namespace eg4d::cuda
