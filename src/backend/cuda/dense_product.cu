#include "backend/cuda/dense_product.cuh"

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/splat_kernels.h"

namespace eg4d::cuda {
namespace {

constexpr int kTile = kProductTile, kDepth = kProductDepth;
constexpr int kDeepRow = kDepth + 4;  // floats in a row of a tile whose rows run along the depth
constexpr int kWideRow = kTile + 8;   // of one whose rows run along m or n
constexpr int kTileFloats = kTile * kDeepRow;
static_assert(kTileFloats >= kDepth * kWideRow);
constexpr size_t kSharedBytes = size_t{2} * kProductStages * kTileFloats * sizeof(float);
constexpr int kWarpRows = 64, kWarpColumns = 32;
constexpr int kFragmentsM = kWarpRows / 16, kFragmentsN = kWarpColumns / 8;

__device__ void copy_async(float* to, const float* from, int bytes, bool vector) {
  const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(to));
  if (vector) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes));
    return;
  }
  for (int i = 0; i < 4; ++i) {
    const int part = min(max(bytes - 4 * i, 0), 4);
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(at + 4 * i), "l"(from + (part ? i : 0)),
                 "r"(part));
  }
}
__device__ void commit_copies() {
  asm volatile("cp.async.commit_group;");
}
template <int kLeft>
__device__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft));
}

// Where an operand's tile lies: `wide` entries of m or n from first_wide, the depth from first_deep; both end
// at their limits, and what lies beyond is zero.
struct TileSource {
  const float* data;
  int64_t stride, first_wide, wide_end, first_deep, deep_end;
};
// kDeep: rows run along the depth.
template <bool kDeep>
__device__ void load_tile(const TileSource& s, float* tile, bool vector) {
#pragma unroll
  for (int i = 0; i < kTile * kDepth / 4 / kProductThreads; ++i) {
    const int chunk = static_cast<int>(threadIdx.x) + i * kProductThreads;
    constexpr int kPerRow = (kDeep ? kDepth : kTile) / 4;
    const int row = chunk / kPerRow, column = chunk % kPerRow * 4;
    const int64_t r = (kDeep ? s.first_wide : s.first_deep) + row,
                  c = (kDeep ? s.first_deep : s.first_wide) + column;
    const int64_t r_end = kDeep ? s.wide_end : s.deep_end, c_end = kDeep ? s.deep_end : s.wide_end;
    const int64_t left = r < r_end ? min(max(c_end - c, int64_t{0}), int64_t{4}) : 0;
    const float* from = left > 0 ? s.data + r * s.stride + c : s.data;
    copy_async(tile + row * (kDeep ? kDeepRow : kWideRow) + column, from, static_cast<int>(4 * left), vector);
  }
}
template <bool kDeep>
__device__ float tile_at(const float* tile, int wide, int deep) {
  return kDeep ? tile[wide * kDeepRow + deep] : tile[deep * kWideRow + wide];
}

__device__ uint32_t to_tf32(float x) {
  uint32_t y;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
  return y;
}

// A value of an operand: rounded, and with three terms what the rounding left.
template <int kTerms>
struct Split {
  uint32_t high, low;
  __device__ explicit Split(float x) : high(to_tf32(x)) {
    if (kTerms == 3) low = to_tf32(x - __uint_as_float(high));
  }
};

__device__ void multiply_add(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

using Accumulators = float[kFragmentsM][kFragmentsN][4];

// One step of the depth. Lane (g, t) of a fragment: g = lane / 4, t = lane % 4.
template <bool kDeepA, bool kDeepB, int kTerms>
__device__ void multiply_tiles(const float* a, const float* b, int warp_row, int warp_column, int lane,
                               Accumulators& sums) {
  const int g = lane / 4, t = lane % 4;
#pragma unroll
  for (int deep = 0; deep < kDepth; deep += 8) {
    uint32_t b_high[kFragmentsN][2], b_low[kFragmentsN][2];
#pragma unroll
    for (int j = 0; j < kFragmentsN; ++j) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const Split<kTerms> s(tile_at<kDeepB>(b, warp_column + 8 * j + g, deep + t + 4 * half));
        b_high[j][half] = s.high;
        if (kTerms == 3) b_low[j][half] = s.low;
      }
    }
#pragma unroll
    for (int i = 0; i < kFragmentsM; ++i) {
      uint32_t a_high[4], a_low[4];
#pragma unroll
      for (int part = 0; part < 4; ++part) {
        const Split<kTerms> s(
            tile_at<kDeepA>(a, warp_row + 16 * i + g + 8 * (part % 2), deep + t + 4 * (part / 2)));
        a_high[part] = s.high;
        if (kTerms == 3) a_low[part] = s.low;
      }
#pragma unroll
      for (int j = 0; j < kFragmentsN; ++j) {
        if (kTerms == 3) {
          multiply_add(sums[i][j], a_low, b_high[j]);
          multiply_add(sums[i][j], a_high, b_low[j]);
        }
        multiply_add(sums[i][j], a_high, b_high[j]);
      }
    }
  }
}

__device__ void write_entry(const Products& p, const Product& product, float* c, int64_t row, int64_t column,
                            float value) {
  if (row >= p.m || column >= p.n) return;
  const int64_t at = row * p.n + column;
  if (product.bias) {
    value += product.bias[column];
    value = value < 0 ? 0 : value;  // NaN stays
  }
  if (p.mask) value = p.mask[at] > 0 ? value : 0;
  c[at] = p.accumulate ? c[at] + value : value;
}

template <bool kDeepA, bool kDeepB, int kTerms>
__global__ void __launch_bounds__(kProductThreads, kTerms == 3 ? 1 : 2)
    product_kernel(const __grid_constant__ Products p, bool vector_a, bool vector_b) {
  extern __shared__ float4 shared[];
  float* const tiles = reinterpret_cast<float*>(shared);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int warp_row = warp / 4 * kWarpRows, warp_column = warp % 4 * kWarpColumns;
  const int64_t first_row = int64_t{blockIdx.y} * kTile, first_column = int64_t{blockIdx.x} * kTile;
  const int split = static_cast<int>(blockIdx.z) % p.splits, own = static_cast<int>(blockIdx.z) / p.splits;
  // This block's part of the depth, in steps; of a sum, all products one after the other.
  const int64_t steps_in_all = (p.k + kDepth - 1) / kDepth;
  const int64_t first_step = steps_in_all * split / p.splits,
                last_step = steps_in_all * (split + 1) / p.splits;
  const int steps_of_one = static_cast<int>(last_step - first_step);
  const int steps = p.sum ? steps_of_one * p.count : steps_of_one;
  const auto a_tile = [&](int stage) { return tiles + 2 * stage * kTileFloats; };
  const auto b_tile = [&](int stage) { return a_tile(stage) + kTileFloats; };
  const auto load = [&](int step) {
    if (step < steps) {
      const Product& product = p.product[p.sum ? step / steps_of_one : own];
      const int64_t deep = (first_step + step % steps_of_one) * kDepth;
      const int stage = step % kProductStages;
      load_tile<kDeepA>({product.a, p.a_stride, first_row, p.m, deep, p.k}, a_tile(stage), vector_a);
      load_tile<kDeepB>({product.b, p.b_stride, first_column, p.n, deep, p.k}, b_tile(stage), vector_b);
    }
    commit_copies();
  };
  Accumulators sums = {};
  float row_sum = 0;  // of row threadIdx.x of the tile
  const bool with_row_sums = p.product[own].row_sums && blockIdx.x == 0 && threadIdx.x < kTile;
  for (int step = 0; step < kProductStages - 1; ++step) load(step);
  for (int step = 0; step < steps; ++step) {
    wait_for_copies<kProductStages - 2>();
    __syncthreads();
    load(step + kProductStages - 1);
    const float *a = a_tile(step % kProductStages), *b = b_tile(step % kProductStages);
    multiply_tiles<kDeepA, kDeepB, kTerms>(a, b, warp_row, warp_column, lane, sums);
    if (with_row_sums)
      for (int deep = 0; deep < kDepth; ++deep)
        row_sum += tile_at<kDeepA>(a, static_cast<int>(threadIdx.x), deep);
  }
  wait_for_copies<0>();
  const Product& product = p.product[own];
  float* const c = product.c + split * p.m * p.n;
#pragma unroll
  for (int i = 0; i < kFragmentsM; ++i) {
#pragma unroll
    for (int j = 0; j < kFragmentsN; ++j) {
#pragma unroll
      for (int part = 0; part < 4; ++part)
        write_entry(p, product, c, first_row + warp_row + 16 * i + lane / 4 + 8 * (part / 2),
                    first_column + warp_column + 8 * j + lane % 4 * 2 + part % 2, sums[i][j][part]);
    }
  }
  if (with_row_sums && first_row + threadIdx.x < p.m)
    product.row_sums[split * p.m + first_row + threadIdx.x] = row_sum;
}

template <bool kDeepA, bool kDeepB, int kTerms>
void launch(const Products& p, cudaStream_t stream) {
  const auto kernel = product_kernel<kDeepA, kDeepB, kTerms>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes),
        "preparing products");
  const auto aligned = [&](int64_t stride, const float* Product::*operand) {
    return stride % 4 == 0 && std::all_of(p.product, p.product + p.count, [&](const Product& product) {
             return reinterpret_cast<uintptr_t>(product.*operand) % 16 == 0;
           });
  };
  const auto tiles = [](int64_t size) { return static_cast<unsigned>((size + kTile - 1) / kTile); };
  const dim3 grid{tiles(p.n), tiles(p.m), static_cast<unsigned>((p.sum ? 1 : p.count) * p.splits)};
  kernel<<<grid, kProductThreads, kSharedBytes, stream>>>(p, aligned(p.a_stride, &Product::a),
                                                          aligned(p.b_stride, &Product::b));
  check_launch("multiplying matrices");
}

}  // namespace

void launch_products(const Products& p, ProductForm form, MatrixPrecision precision, cudaStream_t stream) {
  if (p.count == 0 || p.m == 0 || p.n == 0) return;
  const bool exact = precision == MatrixPrecision::f32;
  switch (form) {
    case ProductForm::kForward:
      return exact ? launch<true, true, 3>(p, stream) : launch<true, true, 1>(p, stream);
    case ProductForm::kInputGradient:
      return exact ? launch<true, false, 3>(p, stream) : launch<true, false, 1>(p, stream);
    case ProductForm::kWeightGradient:
      return exact ? launch<false, false, 3>(p, stream) : launch<false, false, 1>(p, stream);
  }
}

}  // namespace eg4d::cuda
