// What is done to arrays element by element. Compiled without contraction, so that the CPU's bits are kept.

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/gaussian_rows.cuh"
#include "backend/cuda/splat_kernels.h"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = 256;

// body(i) for i < count, one a thread.
template <class Body>
__global__ void __launch_bounds__(kThreads) each_kernel(int64_t count, Body body) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < count) body(i);
}
template <class Body>
void each(int64_t count, const Body& body, const char* doing, cudaStream_t stream) {
  if (count <= 0) return;
  each_kernel<<<blocks_for(count, kThreads), kThreads, 0, stream>>>(count, body);
  check_launch(doing);
}

static_assert(sizeof(IterationInputs) % sizeof(uint64_t) == 0);
__global__ void __launch_bounds__(kThreads) next_inputs_kernel(NextInputs a) {
  const int64_t first = *a.next;
  const auto* from = reinterpret_cast<const uint64_t*>(a.rows + first);
  auto* to = reinterpret_cast<uint64_t*>(a.to);
  const int64_t words = a.count * static_cast<int64_t>(sizeof(IterationInputs) / sizeof(uint64_t));
  for (int64_t i = threadIdx.x; i < words; i += kThreads) to[i] = from[i];
  __syncthreads();
  if (threadIdx.x == 0) *a.next = first + a.count;
}

// Where output pixel `at` falls between two input pixels: centres are aligned, outside is clamped.
struct Tap {
  int low, high;
  float weight;  // of high
};
__device__ Tap tap(int at, int size, int out_size) {
  const float scale = static_cast<float>(size) / static_cast<float>(out_size);
  const float position = fmaxf((static_cast<float>(at) + 0.5f) * scale - 0.5f, 0.0f);
  const int low = min(static_cast<int>(position), size - 1);
  return {low, min(low + 1, size - 1), position - static_cast<float>(low)};
}

struct ResizeOne {
  ResizePicture r;
  __device__ void operator()(int64_t at) const {
    const SourcePicture picture = *r.picture;
    const uint32_t i = static_cast<uint32_t>(at), pixel = i / 3;  // 64 bits divide slowly
    const int y = static_cast<int>(pixel / static_cast<uint32_t>(r.out_width)),
              x = static_cast<int>(pixel) - y * r.out_width, channel = static_cast<int>(i - 3 * pixel);
    const Tap v = tap(y, picture.height, r.out_height);
    const auto blended = [&](int column) {
      const auto at = [&](int row) {
        return static_cast<float>(picture.pixels[(int64_t{row} * picture.width + column) * 3 + channel]);
      };
      const float top = at(v.low), bottom = at(v.high);
      return fmaf(v.weight, bottom - top, top) / 255.0f;
    };
    if (picture.width == r.out_width) {
      r.out[i] = blended(x);
      return;
    }
    const Tap h = tap(x, picture.width, r.out_width);
    const float left = blended(h.low);
    r.out[i] = left + (blended(h.high) - left) * h.weight;
  }
};

struct ClampAboveOne {
  ClampAbove a;
  __device__ void operator()(int64_t i) const {
    if (a.values[i] > a.limit) a.values[i] = a.limit;
  }
};
struct ClampUnitOne {
  ClampUnit a;
  __device__ void operator()(int64_t i) const {
    const float v = a.values[i];
    a.values[i] = v > 0 ? (v < 1 ? v : 1.0f) : 0.0f;  // NaN fails the first comparison
  }
};
struct ClampUnitBackwardOne {
  ClampUnitBackward a;
  __device__ void operator()(int64_t i) const {
    if (!(a.values[i] >= 0 && a.values[i] <= 1)) a.gradients[i] = 0;
  }
};
struct UnitToBytesOne {
  UnitToBytes a;
  __device__ void operator()(int64_t i) const {
    const float v = a.values[i];
    a.bytes[i] = static_cast<uint8_t>(v > 0 ? (v < 1 ? v * 255 + 0.5f : 255.0f) : 0.0f);  // NaN: 0
  }
};
struct ErrorImageOne {
  ErrorImage a;
  __device__ void operator()(int64_t pixel) const {
    const float *image = a.image + 3 * pixel, *target = a.target + 3 * pixel;
    float* out = a.out + 3 * pixel;
    out[0] = 1;
    out[1] = (fabsf(image[0] - target[0]) + fabsf(image[1] - target[1]) + fabsf(image[2] - target[2])) / 3;
    out[2] = 0;
  }
};
struct MoveTowardsOne {
  MoveTowards a;
  __device__ void operator()(int64_t i) const { a.to[i] += a.weight * (a.from[i] - a.to[i]); }
};

// Filling several pieces of memory in one launch.
constexpr int64_t kFilledBytes = 16384;  // of a block
struct Fills {
  FillBytes of[kMostFills];
  uint32_t first_block[kMostFills];
  int count;
};
__global__ void __launch_bounds__(kThreads) fill_kernel(const __grid_constant__ Fills fills) {
  int number = 0;
  while (number + 1 < fills.count && blockIdx.x >= fills.first_block[number + 1]) ++number;
  const FillBytes& fill = fills.of[number];
  const int64_t begin = (blockIdx.x - fills.first_block[number]) * kFilledBytes;
  const int64_t bytes = min(static_cast<int64_t>(fill.bytes) - begin, kFilledBytes);
  uint8_t* const to = static_cast<uint8_t*>(fill.to) + begin;
  const uint32_t word = fill.value * 0x01010101u;
  const int64_t head = min(static_cast<int64_t>(-reinterpret_cast<uintptr_t>(to) % sizeof(uint4)), bytes);
  const int64_t vectors = (bytes - head) / static_cast<int64_t>(sizeof(uint4));
  for (int64_t i = threadIdx.x; i < vectors; i += kThreads)
    reinterpret_cast<uint4*>(to + head)[i] = make_uint4(word, word, word, word);
  for (int64_t i = threadIdx.x; i < head; i += kThreads) to[i] = fill.value;
  for (int64_t i = head + vectors * static_cast<int64_t>(sizeof(uint4)) + threadIdx.x; i < bytes;
       i += kThreads)
    to[i] = fill.value;
}

// Rows of `words` of type T.
template <class T>
struct GatherOne {
  GatherRows a;
  int64_t words;
  __device__ void operator()(int64_t i) const {
    const int64_t row = i / words, word = i % words;
    const int32_t from = a.index[row];
    static_cast<T*>(a.to)[i] = from < 0 ? T{} : static_cast<const T*>(a.from)[from * words + word];
  }
};
template <class T>
void gather(const GatherRows& a, cudaStream_t stream) {
  const int64_t words = a.row_bytes / static_cast<int64_t>(sizeof(T));
  each(a.count * words, GatherOne<T>{a, words}, "gathering rows", stream);
}

}  // namespace

void next_inputs(const NextInputs& a, cudaStream_t stream) {
  next_inputs_kernel<<<1, kThreads, 0, stream>>>(a);
  check_launch("taking the next inputs");
}

void resize_picture(const ResizePicture& r, cudaStream_t stream) {
  if (int64_t{3} * r.out_width * r.out_height > UINT32_MAX)
    not_on_this_device("the GPU takes pictures of at most 2^32 numbers; use --device cpu");
  each(int64_t{3} * r.out_width * r.out_height, ResizeOne{r}, "resizing a picture", stream);
}

void fill_bytes(std::span<const FillBytes> fills, cudaStream_t stream) {
  if (fills.size() > kMostFills) fail("too many pieces of memory for one launch");
  Fills all{};
  uint32_t blocks = 0;
  for (const FillBytes& fill : fills) {
    if (fill.bytes == 0) continue;
    all.of[all.count] = fill;
    all.first_block[all.count++] = blocks;
    blocks += blocks_for(static_cast<int64_t>(fill.bytes), static_cast<int>(kFilledBytes));
  }
  if (blocks == 0) return;
  fill_kernel<<<blocks, kThreads, 0, stream>>>(all);
  check_launch("filling memory");
}

void clamp_above(const ClampAbove& a, cudaStream_t stream) {
  each(a.count, ClampAboveOne{a}, "clamping", stream);
}
void clamp_unit(const ClampUnit& a, cudaStream_t stream) {
  each(a.count, ClampUnitOne{a}, "clamping", stream);
}
void clamp_unit_backward(const ClampUnitBackward& a, cudaStream_t stream) {
  each(a.count, ClampUnitBackwardOne{a}, "clamping backwards", stream);
}
void unit_to_bytes(const UnitToBytes& a, cudaStream_t stream) {
  each(a.count, UnitToBytesOne{a}, "converting a picture", stream);
}
void error_image(const ErrorImage& a, cudaStream_t stream) {
  each(a.pixels, ErrorImageOne{a}, "computing errors", stream);
}
void move_towards(const MoveTowards& a, cudaStream_t stream) {
  each(a.count, MoveTowardsOne{a}, "computing running means", stream);
}

void gather_rows(const GatherRows& a, cudaStream_t stream) {
  const auto address = reinterpret_cast<uintptr_t>(a.to) | reinterpret_cast<uintptr_t>(a.from) |
                       static_cast<uintptr_t>(a.row_bytes);
  if (address % 16 == 0)
    gather<uint4>(a, stream);
  else if (address % 4 == 0)
    gather<uint32_t>(a, stream);
  else
    gather<uint8_t>(a, stream);
}

}  // namespace eg4d::cuda
