#include "backend/cuda/networks/group_norm.cuh"

#include "backend/cuda/check.h"
#include "backend/cuda/networks/group_norm_resident.h"
#include "backend/cuda/networks/network_kernels.h"

namespace eg4d::cuda {
namespace {

constexpr int kBatch = 4;  // positions whose loads are on their way together

// What a thread reads, of a type that is known when this is compiled, so that loads do not wait for branches:
// x + add at its positions in turn. What is added is fetched when it changes, not at every position.
template <int N, DType kType>
class Inputs {
 public:
  __device__ Inputs(const GroupNorm& a, const GroupNormPlace& place)
      : a_(a), channel_(place.channel), first_(place.sample * a.positions) {
    if constexpr (N > 1) a_.x.type = a_.add.type = kType;
  }
  __device__ int64_t at(int64_t position) const { return (first_ + position) * a_.channels + channel_; }
  // As the bits they are: what is on its way takes half the registers then.
  __device__ auto fetch(int64_t position) const {
    if constexpr (kBits)
      return *reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(a_.x.data) + at(position));
    else
      return load_values<N>(a_.x, at(position));
  }
  // x + add. Positions ascend from call to call.
  template <class Fetched>
  __device__ Values<N> values(const Fetched& fetched, int64_t position) {
    Values<N> x;
    if constexpr (kBits)
      x = widened(fetched, kType);
    else
      x = fetched;
    if (!a_.add.data) return x;
    if (position >= end_) {
      const int64_t of = (first_ + position) / a_.add_positions;
      end_ = (of + 1) * a_.add_positions - first_;
      added_ = load_values<N>(a_.add, of * a_.channels + channel_);
    }
#pragma unroll
    for (int i = 0; i < N; ++i) x.v[i] += added_.v[i];
    return x;
  }
  // body(position, x + add) for each of the thread's positions, `down` apart. All loads of a batch are before
  // its bodies, which may write where x is.
  template <class Body>
  __device__ void each(const GroupNormPlace& place, int64_t down, const Body& body) {
    int64_t p = place.begin;
    for (; p + (kBatch - 1) * down < place.end; p += kBatch * down) {
      decltype(fetch(p)) fetched[kBatch];
#pragma unroll
      for (int j = 0; j < kBatch; ++j) fetched[j] = fetch(p + j * down);
#pragma unroll
      for (int j = 0; j < kBatch; ++j) body(p + j * down, values(fetched[j], p + j * down));
    }
    for (; p < place.end; p += down) body(p, values(fetch(p), p));
  }

 private:
  static constexpr bool kBits = N == 8 && kType != DType::f32;

  GroupNorm a_;
  Values<N> added_ = {};
  int64_t channel_, first_, end_ = 0;
};

// Three blocks on a multiprocessor where 16 bits leave the registers for it.
template <int N, DType kType>
__global__ void __launch_bounds__(GroupNormGrid::kMostThreads, kType == DType::f32 ? 2 : 3)
    sums_kernel(GroupNorm a, GroupNormGrid grid, float* sums) {
  const GroupNormPlace place = group_norm_place<N>(a, grid);
  Values<N> sum = {}, squares = {};
  if (!place.idle) {
    Inputs<N, kType> inputs(a, place);
    const Values<N> pivot = inputs.values(inputs.fetch(0), 0);
    inputs.each(place, grid.down, [&](int64_t, const Values<N>& x) {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const float difference = x.v[i] - pivot.v[i];
        sum.v[i] += difference;
        squares.v[i] = fmaf(difference, difference, squares.v[i]);
      }
    });
  }
  leave_sums<N>(a, grid, place, sum, squares, sums);
}

// A block for some groups of a sample: kSlices threads for each of their channels, which lie side by side, so
// that what a warp reads does too.
constexpr int kSlices = 8, kChannels = 64;

__global__ void __launch_bounds__(kSlices* kChannels)
    terms_kernel(GroupNorm a, GroupNormGrid grid, int64_t together, const float* sums, float2* terms) {
  extern __shared__ double
      shared[];  // [2][kSlices][channels of the block], then their means and sums of squares
  const int64_t width = a.channels / a.groups, channels = width * together, sample = blockIdx.y,
                first = blockIdx.x * channels;
  const auto count = static_cast<double>(a.positions);
  double* const means = shared;
  double* const squares = shared + kSlices * channels;
  for (int64_t c = threadIdx.x; c < channels; c += kChannels) {
    double sum = 0, square = 0;
    if (first + c < a.channels) {
      const auto* from =
          reinterpret_cast<const float2*>(sums) + sample * grid.pieces * a.channels + first + c;
#pragma unroll 4
      for (int64_t piece = threadIdx.y; piece < grid.pieces; piece += kSlices) {
        const float2 pair = from[piece * a.channels];
        sum += static_cast<double>(pair.x);
        square += static_cast<double>(pair.y);
      }
    }
    means[threadIdx.y * channels + c] = sum;
    squares[threadIdx.y * channels + c] = square;
  }
  __syncthreads();
  if (threadIdx.y == 0)
    for (int64_t c = threadIdx.x; c < channels && first + c < a.channels; c += kChannels) {
      double sum = 0, square = 0;
      for (int slice = 0; slice < kSlices; ++slice) {
        sum += means[slice * channels + c];
        square += squares[slice * channels + c];
      }
      means[c] = static_cast<double>(group_norm_input<1>(a, sample, 0, first + c).v[0]) + sum / count;
      squares[c] = square - sum * sum / count;
    }
  __syncthreads();
  // A warp for each group.
  const int thread = threadIdx.y * kChannels + threadIdx.x, lane = thread % 32;
  for (int64_t group = thread / 32; group < together; group += kSlices * kChannels / 32) {
    const int64_t begin = group * width;
    if (first + begin >= a.channels) return;
    double mean = 0, square = 0;
    for (int64_t c = lane; c < width; c += 32) mean += means[begin + c];
    mean = sum_of_warp(mean) / static_cast<double>(width);
    for (int64_t c = lane; c < width; c += 32)
      square += squares[begin + c] + count * (means[begin + c] - mean) * (means[begin + c] - mean);
    const double variance = fmax(sum_of_warp(square) / (count * static_cast<double>(width)), 0.0);
    const float2 term = make_float2(static_cast<float>(mean),
                                    static_cast<float>(1 / sqrt(variance + static_cast<double>(a.epsilon))));
    for (int64_t c = lane; c < width; c += 32) terms[sample * a.channels + first + begin + c] = term;
  }
}

// Backwards: what was summed last is still in the second-level cache.
template <int N, DType kType>
__global__ void __launch_bounds__(GroupNormGrid::kMostThreads, kType == DType::f32 ? 2 : 3)
    apply_kernel(GroupNorm a, GroupNormGrid grid, const float2* terms) {
  const GroupNormPlace place = group_norm_place<N>(a, grid, true);
  if (place.idle) return;
  float gain[N], offset[N];
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const float2 term = terms[place.sample * a.channels + place.channel + i];
    gain[i] = term.y * a.scale[place.channel + i];
    offset[i] = fmaf(-term.x, gain[i], a.shift[place.channel + i]);
  }
  Array y = a.y;
  if constexpr (N > 1) y.type = kType;
  Inputs<N, kType> inputs(a, place);
  const auto put_out = [&](const auto& activate) {
    inputs.each(place, grid.down, [&](int64_t p, Values<N> x) {
#pragma unroll
      for (int i = 0; i < N; ++i) x.v[i] = fmaf(x.v[i], gain[i], offset[i]);
      activate(x);
      store_values(y, inputs.at(p), x);
    });
  };
  const auto one_by_one = [&](Activation activation) {
    put_out([&](Values<N>& x) {
#pragma unroll
      for (int i = 0; i < N; ++i) x.v[i] = activated(activation, x.v[i], y.type);
    });
  };
  if (a.activation != Activation::silu)
    one_by_one(a.activation);
  else if constexpr (N == 8 && kType != DType::f32)
    put_out([](Values<8>& x) { silu_of_halves(x); });
  else
    one_by_one(Activation::silu);
}

size_t shared_bytes(const GroupNormGrid& grid) {
  return static_cast<size_t>(grid.across) * static_cast<size_t>(grid.down * 2 * grid.vector) * sizeof(float);
}

}  // namespace

GroupNormGrid group_norm_grid(const GroupNorm& a) {
  const bool one_type = a.y.type == a.x.type && (!a.add || a.add.type == a.x.type);
  return {a, one_type && in_eights(a.channels, {a.x, a.add, a.y})};
}

void group_norm_terms(const GroupNorm& a, const GroupNormGrid& grid, float* sums, float2* terms,
                      cudaStream_t stream) {
  const auto sum = grid.vector == 1          ? sums_kernel<1, DType::f32>
                   : a.x.type == DType::f16  ? sums_kernel<8, DType::f16>
                   : a.x.type == DType::bf16 ? sums_kernel<8, DType::bf16>
                                             : sums_kernel<8, DType::f32>;
  sum<<<grid.blocks(a.batch), grid.threads(), shared_bytes(grid), stream>>>(a, grid, sums);
  const int64_t width = a.channels / a.groups, together = std::max<int64_t>(kChannels / width, 1);
  const dim3 blocks(static_cast<unsigned>((a.groups + together - 1) / together),
                    static_cast<unsigned>(a.batch));
  const size_t shared = 2 * kSlices * static_cast<size_t>(together * width) * sizeof(double);
  constexpr size_t kUsual = 48 * 1024;
  if (shared > kUsual)
    check(cudaFuncSetAttribute(terms_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shared)),
          "preparing a group norm");
  terms_kernel<<<blocks, dim3(kChannels, kSlices), shared, stream>>>(a, grid, together, sums, terms);
  check_launch("computing the terms of a group norm");
}

size_t group_norm_passes_workspace_bytes(const GroupNorm& a) {
  const GroupNormGrid grid = group_norm_grid(a);
  return static_cast<size_t>(a.batch * a.channels) * sizeof(float2) + grid.sums_bytes(a);
}

void group_norm_passes(const GroupNorm& a, void* workspace, cudaStream_t stream) {
  if (a.batch * a.positions * a.channels == 0) return;
  const GroupNormGrid grid = group_norm_grid(a);
  auto* const terms = static_cast<float2*>(workspace);
  group_norm_terms(a, grid, reinterpret_cast<float*>(terms + a.batch * a.channels), terms, stream);
  const auto apply = grid.vector == 1          ? apply_kernel<1, DType::f32>
                     : a.x.type == DType::f16  ? apply_kernel<8, DType::f16>
                     : a.x.type == DType::bf16 ? apply_kernel<8, DType::bf16>
                                               : apply_kernel<8, DType::f32>;
  apply<<<grid.blocks(a.batch), grid.threads(), 0, stream>>>(a, grid, terms);
  check_launch("computing a group norm");
}

size_t group_norm_workspace_bytes(const GroupNorm& a) {
  if (const auto resident = resident_norm(a)) return resident_norm_workspace_bytes(*resident);
  return group_norm_passes_workspace_bytes(a);
}

void group_norm(const GroupNorm& a, void* workspace, cudaStream_t stream) {
  if (const auto resident = resident_norm(a)) return resident_norm(a, *resident, workspace, stream);
  group_norm_passes(a, workspace, stream);
}

}  // namespace eg4d::cuda
