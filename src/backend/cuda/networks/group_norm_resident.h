#pragma once

// Group norm of 16-bit activations that reads them once, for samples of which some groups fit into the GPU's
// shared memory.

#include <cuda_runtime_api.h>

#include <optional>

#include "backend/neural_ops.h"

namespace eg4d::cuda {

// How the work is divided, which the sizes alone decide.
struct ResidentNorm {
  int span = 0, width = 0, groups = 0;    // channels of a chunk and of a group, groups of a chunk
  int spans = 0;                          // chunks of a sample
  int across = 0, down = 0, threads = 0;  // a block's: vectors of eight channels, positions; all, in warps
  int rounds = 0;                         // positions of a thread
  int pieces = 0, piece = 0;              // blocks of a chunk; positions of each
  int items = 0;                          // pieces of all chunks
  size_t shared_bytes = 0;

  // Four blocks on a multiprocessor, and so many on a large GPU, of which those of a chunk are a part; fewer
  // and larger ones where a chunk would have many pieces. Where it has more than the most, its blocks wait
  // for each other so long that passes over the memory are faster.
  static constexpr int kMostThreads = 256, kBlocks = 528, kManyPieces = 100, kMostPieces = 150;
  static constexpr int64_t kMostBytes = 56 * 1024, kLargeBytes = 113 * 1024;
  static constexpr int64_t kFewRounds = 4;
  // Channels of a chunk: about so many, at most.
  static constexpr int kSpan = 160, kMostSpan = 512;
};
// None where it is not the way: other types, sizes and activations, samples too large, too small a GPU.
std::optional<ResidentNorm> resident_norm(const GroupNorm& a);
size_t resident_norm_workspace_bytes(const ResidentNorm& l);
void resident_norm(const GroupNorm& a, const ResidentNorm& l, void* workspace, cudaStream_t stream);

}  // namespace eg4d::cuda
