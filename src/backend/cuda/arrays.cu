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
  __device__ void operator()(int64_t i) const {
    const SourcePicture picture = *r.picture;
    const int64_t pixel = i / 3;
    const int channel = static_cast<int>(i % 3), x = static_cast<int>(pixel % r.out_width),
              y = static_cast<int>(pixel / r.out_width);
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
struct MoveTowardsOne {
  MoveTowards a;
  __device__ void operator()(int64_t i) const { a.to[i] += a.weight * (a.from[i] - a.to[i]); }
};

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
  each(int64_t{3} * r.out_width * r.out_height, ResizeOne{r}, "resizing a picture", stream);
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
