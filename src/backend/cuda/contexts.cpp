#include "backend/cuda/contexts.h"

#include <algorithm>

#include "backend/cuda/check.h"

namespace eg4d::cuda {

RasterContext::RasterContext(Memory& memory, cudaStream_t stream)
    : memory_(memory), stream_(stream), gaussians_(memory), pairs_(memory) {
  void* host = nullptr;
  check(cudaHostAlloc(&host, sizeof(RasterizerTotals), cudaHostAllocDefault),
        "allocating memory of the host");
  counted_ = static_cast<RasterizerTotals*>(host);
  const cudaError_t status = cudaEventCreateWithFlags(&counted_all_, cudaEventDisableTiming);
  if (status != cudaSuccess) cudaFreeHost(counted_);
  check(status, "preparing the rasteriser");
}

RasterContext::~RasterContext() {
  cudaStreamSynchronize(stream_);  // the device may be about to write
  cudaEventDestroy(counted_all_);
  cudaFreeHost(counted_);
}

void RasterContext::reserve(int64_t count, int width, int height) {
  if (count > room_) {
    room_ = count + count / 4;
    memory_.count_move();  // arrays lie elsewhere, even in the same block
  }
  gaussians_.reserve(rasterizer_workspace_bytes({room_, width, height, 0}).gaussians);
}

void RasterContext::count(const RasterizeForward& forward) const {
  if (forward.count == 0) return;
  const RasterizerWorkspace w = make_rasterizer_workspace(size_of(forward, 0), gaussians_.data(), nullptr);
  rasterize_count(forward, w, stream_);
  check(cudaMemcpyAsync(counted_, w.totals, sizeof(RasterizerTotals), cudaMemcpyDeviceToHost, stream_),
        "counting pairs of cell and Gaussian");
}

void RasterContext::mark_counted() {
  check(cudaEventRecord(counted_all_, stream_), "counting pairs of cell and Gaussian");
}

RasterizerTotals RasterContext::totals(const RasterizeForward& forward) const {
  if (forward.count == 0) return {};
  check(cudaEventSynchronize(counted_all_), "counting pairs of cell and Gaussian");
  return *counted_;
}

void RasterContext::use(const RasterizeForward& forward, int64_t pair_capacity, bool long_lists) {
  RasterizerSize size = size_of(forward, pair_capacity);
  size.long_lists = long_lists;
  pairs_.reserve(rasterizer_workspace_bytes(size).pairs);
  workspace_ = make_rasterizer_workspace(size, gaussians_.data(), pairs_.data());
}

void NetworkContext::reserve(const DeformationNetwork& network) {
  if (network.keep) activations_.reserve(mlp_activation_bytes(mlp_of(network, nullptr)));
}

}  // namespace eg4d::cuda
