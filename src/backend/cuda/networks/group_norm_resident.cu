// Group norm of 16-bit activations that reads them once. Groups are normed in chunks of some groups of a
// sample. Blocks that all run at the same time keep a chunk's pieces in shared memory, tell each other mean
// and sum of squares of theirs, wait for those of all, and norm what they keep. A thread keeps the same
// channels of some positions, and fetches the next piece into the places of what it has normed.

#include <algorithm>
#include <numeric>

#include "backend/cuda/check.h"
#include "backend/cuda/networks/group_norm_resident.h"
#include "backend/cuda/networks/typed_arrays.cuh"
#include "backend/cuda/tensor_core.cuh"

namespace eg4d::cuda {
namespace {

using Layout = ResidentNorm;

__device__ float sum_of_lanes(float value) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  return value;
}
__device__ double sum_of_lanes(double value) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  return value;
}

// A piece of a chunk, and what a thread has of it: positions row, row + down, … of eight channels.
struct Piece {
  int chunk, number;  // of the chunk's
  int count;          // positions of the piece
  int mine;           // positions that are this thread's to look at: `count`, or none
  unsigned first;     // the piece's first position, counted through the whole batch
  int64_t at;         // element of the thread's first vector
  int channel;        // its first channel
  __device__ Piece(const GroupNorm& a, const Layout& l, int item, int column, int row) {
    chunk = item / l.pieces;
    number = item - chunk * l.pieces;
    const int sample = chunk / l.spans, positions = static_cast<int>(a.positions);
    channel = (chunk - sample * l.spans) * l.span + column * 8;
    count = item < l.items ? min(l.piece, positions - number * l.piece) : 0;
    mine = row < l.down ? count : 0;
    first = static_cast<unsigned>(sample * positions + number * l.piece);
    at = static_cast<int64_t>(first + row) * a.channels + channel;
  }
};

// Of the two groups that a thread's eight channels may belong to: sums of differences from the group's pivot,
// and of their squares.
struct TwoSums {
  float first = 0, first_squares = 0, second = 0, second_squares = 0;
};

// Adds what the block's threads have of each group, a warp a group; then(group, sum, squares) is called by
// its first lane.
template <class Then>
__device__ void sum_groups(const Layout& l, const TwoSums& own, float4* sums, const Then& then) {
  sums[threadIdx.x] = make_float4(own.first, own.first_squares, own.second, own.second_squares);
  __syncthreads();
  for (int group = static_cast<int>(threadIdx.x / 32); group < l.groups;
       group += static_cast<int>(blockDim.x / 32)) {
    const int begin = group * l.width / 8;
    const auto columns = static_cast<unsigned>(((group + 1) * l.width - 1) / 8 + 1 - begin);
    float sum = 0, squares = 0;
    for (unsigned i = threadIdx.x % 32; i < columns * static_cast<unsigned>(l.down); i += 32) {
      const int row = static_cast<int>(i / columns), column = begin + static_cast<int>(i % columns);
      const float4 of = sums[row * l.across + column];
      const bool is_first = column * 8 / l.width == group;
      sum += is_first ? of.x : of.z;
      squares += is_first ? of.y : of.w;
    }
    sum = sum_of_lanes(sum);
    squares = sum_of_lanes(squares);
    if (threadIdx.x % 32 == 0) then(group, sum, squares);
  }
}

// Waits until so many blocks have come here; what each wrote before is seen by all after.
__device__ void meet(unsigned* arrived, unsigned all) {
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(arrived) : "memory");
    for (unsigned there = 0; there < all;)
      asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(there) : "l"(arrived) : "memory");
  }
  __syncthreads();
}

// body(i, its group) for each of a thread's channels.
template <class Body>
__device__ void each_channel(const Layout& l, int column, const Body& body) {
  int group = column * 8 / l.width, within = column * 8 - group * l.width;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    body(i, group);
    if (++within == l.width) {
      within = 0;
      ++group;
    }
  }
}

template <DType kType, bool kAdd>
__global__ void __launch_bounds__(Layout::kMostThreads, 4)
    resident_norm_kernel(const __grid_constant__ GroupNorm a, const __grid_constant__ Layout l,
                         float2* partials, unsigned* arrived) {
  extern __shared__ uint4 slots[];  // [rounds][threads]
  float4* const of_threads = reinterpret_cast<float4*>(slots + l.rounds * static_cast<int>(blockDim.x));
  float2* const terms = reinterpret_cast<float2*>(of_threads + blockDim.x);  // [groups]
  const int thread = static_cast<int>(threadIdx.x), column = thread % l.across, row = thread / l.across;
  const int threads = static_cast<int>(blockDim.x);
  const int64_t stride = static_cast<int64_t>(l.down) * a.channels;
  const auto* const x = static_cast<const uint16_t*>(a.x.data);
  auto* const y = static_cast<uint16_t*>(a.y.data);

  // body(i, x + add) for each position of this thread.
  const auto each = [&](const Piece& piece, const auto& body) {
    [[maybe_unused]] Values<8> added{};
    [[maybe_unused]] unsigned end = 0;
    for (int i = 0, p = row; p < piece.mine; ++i, p += l.down) {
      Values<8> v = widened(slots[i * threads + thread], kType);
      if constexpr (kAdd) {
        const unsigned position = piece.first + static_cast<unsigned>(p);
        if (position >= end) {
          const unsigned of = position / static_cast<unsigned>(a.add_positions);
          end = (of + 1) * static_cast<unsigned>(a.add_positions);
          added = load_values<8>({a.add.data, kType}, of * a.channels + piece.channel);
        }
#pragma unroll
        for (int k = 0; k < 8; ++k) v.v[k] += added.v[k];
      }
      body(i, v);
    }
  };

  Piece piece(a, l, static_cast<int>(blockIdx.x), column, row);
  for (int i = 0, p = row; p < piece.mine; ++i, p += l.down)
    copy_unit_async(slots + i * threads + thread, x + piece.at + i * stride, true);
  for (int item = static_cast<int>(blockIdx.x); item < l.items; item += static_cast<int>(gridDim.x)) {
    commit_copies();
    wait_for_copies<0>();

    __syncthreads();

    // Mean and squares of this piece, from differences to the group's first value here, so that a large mean
    // costs no digits.
    const auto pivot_of = [&](int group) {
      const float value = load({slots, kType}, group * l.width);
      if constexpr (!kAdd) return value;
      const int64_t of = piece.first / static_cast<unsigned>(a.add_positions);
      return value +
             load({a.add.data, kType}, of * a.channels + piece.channel - column * 8 + group * l.width);
    };
    const int group = column * 8 / l.width, split = (group + 1) * l.width - column * 8;
    const float pivot = pivot_of(group), next_pivot = split < 8 ? pivot_of(group + 1) : pivot;
    TwoSums own;
    {
      Values<8> sums{}, squares{};
      each(piece, [&](int, const Values<8>& v) {
#pragma unroll
        for (int k = 0; k < 8; ++k) {
          const float d = v.v[k] - (k < split ? pivot : next_pivot);
          sums.v[k] += d;
          squares.v[k] = fmaf(d, d, squares.v[k]);
        }
      });
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        own.first += k < split ? sums.v[k] : 0;
        own.first_squares += k < split ? squares.v[k] : 0;
        own.second += k < split ? 0 : sums.v[k];
        own.second_squares += k < split ? 0 : squares.v[k];
      }
    }
    float2* const of_chunk = partials + static_cast<int64_t>(piece.chunk) * l.pieces * l.groups;
    sum_groups(l, own, of_threads, [&](int of, float sum, float squares) {
      const float mean = sum / static_cast<float>(piece.count * l.width);
      of_chunk[piece.number * l.groups + of] = make_float2(pivot_of(of) + mean, squares - sum * mean);
    });
    Values<8> gain{}, offset{};
    if (row < l.down) {
      gain = load_values<8>({a.scale, DType::f32}, piece.channel);
      offset = load_values<8>({a.shift, DType::f32}, piece.channel);
    }
    meet(arrived + piece.chunk, static_cast<unsigned>(l.pieces));

    // The chunk's: sums of differences from the first piece's mean, so that a large mean costs no digits.
    for (int group = thread / 32; group < l.groups; group += threads / 32) {
      const float first = __ldcg(&of_chunk[group].x);
      double sum = 0, square = 0;
      for (int number = thread % 32; number < l.pieces; number += 32) {
        const float2 partial = __ldcg(&of_chunk[number * l.groups + group]);
        const double n = min(l.piece, static_cast<int>(a.positions) - number * l.piece) * l.width,
                     d = static_cast<double>(partial.x - first);
        sum += n * d;
        square += n * d * d + static_cast<double>(partial.y);
      }
      sum = sum_of_lanes(sum);
      square = sum_of_lanes(square);
      const double n = static_cast<double>(a.positions * l.width);
      const double variance = fmax((square - sum * sum / n) / n, 0.0);
      if (thread % 32 == 0)
        terms[group] = make_float2(static_cast<float>(static_cast<double>(first) + sum / n),
                                   static_cast<float>(1 / sqrt(variance + static_cast<double>(a.epsilon))));
    }
    __syncthreads();
    if (row < l.down)
      each_channel(l, column, [&](int k, int group) {
        const float2 term = terms[group];
        gain.v[k] *= term.y;
        offset.v[k] = fmaf(-term.x, gain.v[k], offset.v[k]);
      });

    const Piece next(a, l, item + static_cast<int>(gridDim.x), column, row);
    const auto fetch_next = [&](int i) {
      if (row + i * l.down < next.mine)
        copy_unit_async(slots + i * threads + thread, x + next.at + i * stride, true);
    };
    const auto put_out = [&](const auto& activate) {
      each(piece, [&](int i, Values<8> v) {
        fetch_next(i);
#pragma unroll
        for (int k = 0; k < 8; ++k) v.v[k] = fmaf(v.v[k], gain.v[k], offset.v[k]);
        activate(v);
        *reinterpret_cast<uint4*>(y + piece.at + i * stride) = narrowed(v, kType);
      });
    };
    if (a.activation == Activation::silu)
      put_out([](Values<8>& v) { silu_of_halves(v); });
    else
      put_out([](Values<8>&) {});
    // The last piece of a chunk may have fewer positions than the next one.
    for (int i = piece.mine > row ? (piece.mine - row + l.down - 1) / l.down : 0; i < l.rounds; ++i)
      fetch_next(i);
    piece = next;
  }
}

// ---------------------------------------------------------------- host

auto kernel_for(const GroupNorm& a) {
  if (a.x.type == DType::f16)
    return a.add ? resident_norm_kernel<DType::f16, true> : resident_norm_kernel<DType::f16, false>;
  return a.add ? resident_norm_kernel<DType::bf16, true> : resident_norm_kernel<DType::bf16, false>;
}

// Blocks of it that run at the same time on this GPU; none where their shared memory is more than it has.
int blocks_at_once(const GroupNorm& a, const Layout& l) {
  const auto kernel = kernel_for(a);
  int device = 0, multiprocessors = 0, most = 0, cooperates = 0, blocks = 0;
  check(cudaGetDevice(&device), "asking which it is");
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
        "asking for its multiprocessors");
  check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
        "asking for its shared memory");
  check(cudaDeviceGetAttribute(&cooperates, cudaDevAttrCooperativeLaunch, device), "asking what it is");
  if (!cooperates || l.shared_bytes > static_cast<size_t>(most)) return 0;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(l.shared_bytes)),
        "preparing a group norm");
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, l.threads, l.shared_bytes),
        "preparing a group norm");
  return blocks * multiprocessors;
}

// Lays it out for chunks of so many channels, and so much shared memory of a block.
Layout laid_out(const GroupNorm& a, int span, int64_t most) {
  Layout l;
  l.span = span;
  l.width = static_cast<int>(a.channels / a.groups);
  l.groups = span / l.width;
  l.spans = static_cast<int>(a.channels / span);
  l.across = span / 8;
  l.down = Layout::kMostThreads / l.across;
  l.threads = (l.across * l.down + 31) / 32 * 32;
  const int64_t around = l.threads * 16 + l.groups * 8, round = l.threads * 16;
  const int64_t most_rounds = (most - around) / round;
  // As many as leave no multiprocessor idle at the end.
  const int64_t at_once = int64_t{l.across} * l.down * Layout::kBlocks;
  const int64_t vectors = a.batch * a.positions * a.channels / 8,
                waves = (vectors + at_once * most_rounds - 1) / (at_once * most_rounds);
  const int64_t rounds = std::clamp((vectors + at_once * waves - 1) / (at_once * waves),
                                    std::min(Layout::kFewRounds, most_rounds), most_rounds);
  l.pieces = static_cast<int>((a.positions + rounds * l.down - 1) / (rounds * l.down));
  l.piece = static_cast<int>((a.positions + l.pieces - 1) / l.pieces);
  l.pieces = static_cast<int>((a.positions + l.piece - 1) / l.piece);
  l.rounds = (l.piece + l.down - 1) / l.down;
  l.items = static_cast<int>(a.batch) * l.spans * l.pieces;
  l.shared_bytes = static_cast<size_t>(l.rounds * round + around);
  return l;
}

}  // namespace

std::optional<ResidentNorm> resident_norm(const GroupNorm& a) {
  constexpr int64_t kMost = int64_t{1} << 31;
  const DType type = a.x.type;
  if (a.batch * a.positions * a.channels == 0) return {};
  if (type == DType::f32 || a.y.type != type || (a.add && a.add.type != type)) return {};
  if (a.activation != Activation::none && a.activation != Activation::silu) return {};
  if (!in_eights(a.channels, {a.x, a.add, a.y, a.scale, a.shift})) return {};
  if (a.batch * a.positions * a.channels / 8 >= kMost || a.batch * a.positions + a.add_positions >= kMost)
    return {};
  // Whole groups, whole vectors; as many as make rows long enough for the memory.
  const int64_t width = a.channels / a.groups, step = std::lcm(width, int64_t{8});
  int span = 0;
  for (int64_t channels = step; channels <= std::min<int64_t>(a.channels, Layout::kMostSpan);
       channels += step)
    if (a.channels % channels == 0 && span < Layout::kSpan) span = static_cast<int>(channels);
  if (span == 0) return {};
  for (int64_t channel = 0; channel < span; channel += 8)
    if ((channel + 7) / width > channel / width + 1) return {};  // a thread's vector is of two groups at most
  Layout l = laid_out(a, span, Layout::kMostBytes);
  if (l.pieces > Layout::kManyPieces) {
    const Layout large = laid_out(a, span, Layout::kLargeBytes);
    if (large.pieces <= blocks_at_once(a, large)) l = large;
  }
  if (l.pieces > std::min(Layout::kMostPieces, blocks_at_once(a, l))) return {};
  return l;
}

size_t resident_norm_workspace_bytes(const ResidentNorm& l) {
  return static_cast<size_t>(l.items) * (static_cast<size_t>(l.groups) * sizeof(float2) + sizeof(unsigned));
}

void resident_norm(const GroupNorm& a, const ResidentNorm& l, void* workspace, cudaStream_t stream) {
  auto* partials = static_cast<float2*>(workspace);
  auto* arrived = reinterpret_cast<unsigned*>(partials + static_cast<int64_t>(l.items) * l.groups);
  check(cudaMemsetAsync(arrived, 0, static_cast<size_t>(l.items / l.pieces) * sizeof(unsigned), stream),
        "preparing a group norm");
  cudaLaunchConfig_t launch{};
  launch.gridDim = dim3(static_cast<unsigned>(std::min(l.items, blocks_at_once(a, l))));
  launch.blockDim = dim3(static_cast<unsigned>(l.threads));
  launch.dynamicSmemBytes = l.shared_bytes;
  launch.stream = stream;
  cudaLaunchAttribute together{};
  together.id = cudaLaunchAttributeCooperative;
  together.val.cooperative = 1;
  launch.attrs = &together;
  launch.numAttrs = 1;
  check(cudaLaunchKernelEx(&launch, kernel_for(a), a, l, partials, arrived), "computing a group norm");
}

}  // namespace eg4d::cuda
