#pragma once

// The kernels between which attention() chooses. All but the general one are for operands of one type, f16 or
// bf16, which lie so that 8 numbers are read at a time (`is_aligned` in attention.cpp).

#include <cuda_runtime_api.h>

#include "backend/neural_ops.h"

namespace eg4d::cuda {

// Any types, extents and strides; all sums in f32 without tensor cores. Blocks compute kGeneralColumns
// numbers of a head.
inline constexpr int kGeneralColumns = 128;
void attention_general(const Attention& a, cudaStream_t stream);
// to.y = from.y, which differ in nothing else.
void move_result(const Attention& from, const Attention& to, cudaStream_t stream);

// Heads of at most kMmaWidth: 64 queries a block, on the tensor cores of every GPU since sm_80.
inline constexpr int64_t kMmaWidth = 128;
void attention_mma(const Attention& a, cudaStream_t stream);

// Heads of at most kWideWidth, for which the queries' sums do not fit into a warp's registers.
inline constexpr int64_t kWideWidth = 512;
inline constexpr int kWideSharedBytes = 138 * 1024;  // that a block must be able to have
void attention_wide(const Attention& a, cudaStream_t stream);

// At most kFrames queries and keys, heads of kFramesWidth: a warp per sequence and head.
inline constexpr int64_t kFrames = 32, kFramesWidth = 64;
void attention_frames(const Attention& a, cudaStream_t stream);

// sm_90 alone, heads of at most kMmaWidth, not causal, strides not negative and tokens apart. Large blocks
// have a multiprocessor to themselves and do 192 queries at a time (128 of heads wider than 64), small ones
// 64 (of narrow heads).
enum class WgmmaBlocks : uint8_t { large, small };
inline constexpr int64_t kWgmmaWidth = 64;  // of narrow heads
void attention_wgmma(const Attention& a, WgmmaBlocks blocks, cudaStream_t stream);

// What scores are multiplied by, so that weights are powers of two.
float attention_scale(const Attention& a);

}  // namespace eg4d::cuda
