#pragma once

// Recorded operations as CUDA graphs.

#include <cuda_runtime_api.h>

#include <optional>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/operation_runner.h"

namespace eg4d::cuda {

// The operations between two rasterisations, with the second part of the one and the first part of the other
// (RasterContext). The first time they are enqueued one by one, which also loads their kernels; the second
// time they become a graph. What a graph has noted of memory is compared before it is launched; when
// something has moved, it is made again.
class Segment {
 public:
  Segment() = default;
  ~Segment() { forget(); }
  Segment(Segment&& other) noexcept;
  Segment& operator=(Segment&&) = delete;

  std::optional<RasterizeForward> drawn;  // its second part comes first
  std::vector<Operation> operations;
  std::optional<RasterizeForward> counted;  // its first part comes last

  // After everything was prepared.
  void replay(OperationRunner& runner, const Memory& memory, cudaStream_t stream);

 private:
  // Where the memory of contexts and scratch is.
  struct Places {
    int64_t moves = -1;
    std::vector<RasterizerWorkspace> workspaces;
    bool operator==(const Places&) const = default;
  };

  Places places(const Memory& memory) const;
  void make_room_for_pairs(const Memory& memory);
  void enqueue(OperationRunner& runner) const;
  bool capture(OperationRunner& runner, cudaStream_t stream);
  void forget();

  int64_t pair_capacity_ = 0;  // of what is drawn
  bool long_lists_ = false;
  bool loaded_ = false, capturable_ = true;
  cudaGraphExec_t graph_ = nullptr;
  Places noted_;  // the last time that the operations were enqueued or captured
};

class CudaRecording final : public Recording {
 public:
  CudaRecording() { segments_.emplace_back(); }
  void add(const Operation& operation);
  void replay(OperationRunner& runner, const Memory& memory, cudaStream_t stream) const;

 private:
  // Replaying a recording does not change what it records.
  mutable std::vector<Segment> segments_;
  mutable int64_t prepared_at_ = -1;  // Memory::moves()
};

}  // namespace eg4d::cuda
