#pragma once

// Which kernel does an operation, and in what memory it works.

#include <cuda_runtime_api.h>

#include <functional>
#include <span>

#include "backend/cuda/contexts.h"
#include "backend/cuda/networks/network_runner.h"
#include "backend/operations.h"

namespace eg4d::cuda {

// Throws NotOnThisDevice for what is not here yet.
void require_here(const Operation& operation);

// A second stream for what may run beside the first. Where it leaves the first one and comes back to it are
// events, so a graph that captures the first one has it as a branch.
class SideStream {
 public:
  explicit SideStream(cudaStream_t main);
  ~SideStream();
  SideStream(const SideStream&) = delete;
  SideStream& operator=(const SideStream&) = delete;

  // After what the main stream has been given until now.
  cudaStream_t leave();
  // Before what the main stream is given from now on; nothing if it has not left.
  void come_back();

 private:
  cudaStream_t main_, side_ = nullptr;
  cudaEvent_t left_ = nullptr, back_ = nullptr;
  bool away_ = false;
};

class OperationRunner {
 public:
  OperationRunner(Memory& memory, cudaStream_t stream)
      : scratch_(memory),
        field_(memory),
        stream_(stream),
        order_stream_(stream),
        weights_stream_(stream),
        networks_(memory, stream) {}

  // Prepares, enqueues, and for a rasterisation waits in between until its pairs are counted.
  void run(const Operation& operation);

  // What need not be done again while memory().moves() stays the same: makes room in the scratch memory and
  // in contexts. Only here is memory allocated.
  void prepare(const Operation& operation);
  // In order, with nothing but launches: may be captured in a graph. Without rasterisations, which consist of
  // two parts (RasterContext); `drawing` enqueues the second part of one that comes before the operations.
  void enqueue(std::span<const Operation> operations, const std::function<void()>& drawing = nullptr);

  NetworkRunner& networks() { return networks_; }
  const NetworkRunner& networks() const { return networks_; }

 private:
  // The field's backward pass whose order may be made from the beginning on, beside the operations before.
  static const HexPlaneBackward* orderable(std::span<const Operation> operations);
  void enqueue_each(std::span<const Operation> operations, const HexPlaneBackward* ordered);

  Block scratch_;  // of one operation at a time
  Block field_;    // of the field's backward pass, which begins before those before it have ended
  cudaStream_t stream_;
  SideStream order_stream_, weights_stream_;
  NetworkRunner networks_;
};

}  // namespace eg4d::cuda
