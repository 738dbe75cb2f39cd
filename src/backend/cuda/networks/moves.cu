#include "backend/cuda/check.h"
#include "backend/cuda/networks/network_kernels.h"
#include "backend/cuda/networks/typed_arrays.cuh"

namespace eg4d::cuda {
namespace {

template <int N>
__global__ void copy_rows_kernel(CopyRows a) {
  const int64_t number = thread_number(), per_row = a.width / N;
  const int64_t row = number / per_row, column = number % per_row * N;
  if (row >= a.rows) return;
  store_values(a.to, row * a.to_pitch + column, load_values<N>(a.from, row * a.from_pitch + column));
}

template <int N>
__global__ void upsample_kernel(Upsample a) {
  const int64_t number = thread_number(), per_pixel = a.channels / N;
  const int64_t pixel = number / per_pixel, channel = number % per_pixel * N;
  if (pixel >= a.batch * a.height * a.width) return;
  const int64_t row = pixel / a.width, column = pixel % a.width;
  const Values<N> value = load_values<N>(a.x, pixel * a.channels + channel);
  const int64_t first = (row * 2 * 2 * a.width + 2 * column) * a.channels + channel;
#pragma unroll
  for (int down = 0; down < 2; ++down)
#pragma unroll
    for (int across = 0; across < 2; ++across)
      store_values(a.y, first + (down * 2 * a.width + across) * a.channels, value);
}

__global__ void patches_kernel(Patches a) {
  const int64_t rows = a.height / a.patch, columns = a.width / a.patch, line = a.patch * a.channels;
  const int64_t at = thread_number();
  if (at >= a.batch * rows * columns * a.patch * line) return;
  const int64_t within = at % line, y = at / line % a.patch, square = at / line / a.patch;
  const int64_t column = square % columns, row = square / columns % rows, picture = square / columns / rows;
  const int64_t from =
      ((picture * a.height + row * a.patch + y) * a.width + column * a.patch) * a.channels + within;
  store(a.y, at, load(a.x, from));
}

struct Extents {
  int64_t in = 0, kernel_height = 1, kernel_width = 1, out_height = 0, out_width = 0;
};
Extents extents_of(const Convolution& a) {
  const PackedWeight::Extents& w = a.weight->extents;
  return {w.in, w.kernel_height, w.kernel_width,
          convolution_extent(a.height, w.kernel_height, a.pad_top, a.pad_bottom, a.stride, a.dilation),
          convolution_extent(a.width, w.kernel_width, a.pad_left, a.pad_right, a.stride, a.dilation)};
}

template <int N>
__global__ void columns_kernel(Columns a, Extents e) {
  const int64_t number = thread_number(), per_tap = e.in / N, taps = e.kernel_height * e.kernel_width;
  const int64_t channel = number % per_tap * N, tap = number / per_tap % taps, row = number / per_tap / taps;
  if (row >= a.count) return;
  const Convolution& c = a.convolution;
  const int64_t pixel = a.begin + row;
  const int64_t column_out = pixel % e.out_width, row_out = pixel / e.out_width % e.out_height,
                picture = pixel / e.out_width / e.out_height;
  const int64_t y = row_out * c.stride + tap / e.kernel_width * c.dilation - c.pad_top;
  const int64_t x = column_out * c.stride + tap % e.kernel_width * c.dilation - c.pad_left;
  Values<N> value = {};
  if (y >= 0 && y < c.height && x >= 0 && x < c.width)
    value = load_values<N>(c.x, ((picture * c.height + y) * c.width + x) * e.in + channel);
  store_values(a.to, (row * taps + tap) * e.in + channel, value);
}

// Every input pixel collects from the output pixels whose kernels lie over it: along an axis, the taps i for
// which position + pad - i·dilation is a multiple of the stride.
template <int N>
__global__ void add_columns_kernel(Convolution a, Extents e, const float* columns, int64_t pitch, float* d_x,
                                   int64_t count) {
  const int64_t number = thread_number();
  if (number >= count) return;
  const int in = static_cast<int>(e.in), width = static_cast<int>(a.width), per_pixel = in / N;
  const int64_t pixel_in = number / per_pixel, line = pixel_in / width, picture = line / a.height;
  const int channel = static_cast<int>(number - pixel_in * per_pixel) * N;
  const int across = static_cast<int>(pixel_in - line * width + a.pad_left),
            down = static_cast<int>(line - picture * a.height + a.pad_top);
  const int stride = static_cast<int>(a.stride), dilation = static_cast<int>(a.dilation);
  const int rows = static_cast<int>(e.kernel_height), taps = static_cast<int>(e.kernel_width);
  const int out_height = static_cast<int>(e.out_height), out_width = static_cast<int>(e.out_width);
  // Without dilation it is known which.
  const int step = dilation == 1 ? stride : 1;
  const float* const of_picture = columns + picture * out_height * out_width * pitch + channel;
  float sum[N] = {};
  for (int i = down % step; i < rows && i * dilation <= down; i += step) {
    const int y = (down - i * dilation) / stride;
    if (y >= out_height || y * stride != down - i * dilation) continue;
    for (int j = across % step; j < taps && j * dilation <= across; j += step) {
      const int x = (across - j * dilation) / stride;
      if (x >= out_width || x * stride != across - j * dilation) continue;
      const float* const from =
          of_picture + static_cast<int64_t>(y * out_width + x) * pitch + (i * taps + j) * in;
      if constexpr (N == 4) {
        const float4 v = *reinterpret_cast<const float4*>(from);
        sum[0] += v.x, sum[1] += v.y, sum[2] += v.z, sum[3] += v.w;
      } else {
        sum[0] += *from;
      }
    }
  }
  if constexpr (N == 4) {
    float4& to = reinterpret_cast<float4*>(d_x)[number];
    to = make_float4(to.x + sum[0], to.y + sum[1], to.z + sum[2], to.w + sum[3]);
  } else {
    d_x[number] += sum[0];
  }
}

__device__ float rounded(float value, DType type) {
  if (type == DType::f16) return __half2float(__float2half_rn(value));
  if (type == DType::bf16) return __bfloat162float(__float2bfloat16_rn(value));
  return value;
}

// Files may hold doubles too; they are rounded once, as on the host.
__device__ float load_stored(ConstArray from, int64_t at) {
  return from.type == DType::f64 ? static_cast<float>(static_cast<const double*>(from.data)[at])
                                 : load(from, at);
}

__global__ void pack_weight_kernel(WeightPart a) {
  const int64_t at = thread_number();
  if (at >= a.rows * a.columns) return;
  const int64_t inputs = a.columns / a.taps, row = at / a.columns, input = at % inputs,
                tap = at / inputs % a.taps;
  const int64_t column = input * a.taps + tap;
  const float value = load_stored(a.from, a.transposed ? column * a.rows + row : row * a.columns + column);
  store(a.to, at, rounded(value * a.scale, a.rounded_to));
}

}  // namespace

void copy_rows(const CopyRows& a, cudaStream_t stream) {
  if (a.rows == 0 || a.width == 0) return;
  if (in_eights(a.width, {a.from, a.to}) && a.from_pitch % 8 == 0 && a.to_pitch % 8 == 0)
    copy_rows_kernel<8><<<blocks_for(a.rows * a.width / 8), kThreads, 0, stream>>>(a);
  else
    copy_rows_kernel<1><<<blocks_for(a.rows * a.width), kThreads, 0, stream>>>(a);
  check_launch("copying rows");
}

void upsample(const Upsample& a, cudaStream_t stream) {
  const int64_t count = a.batch * a.height * a.width * a.channels;
  if (count == 0) return;
  if (in_eights(a.channels, {a.x, a.y}))
    upsample_kernel<8><<<blocks_for(count / 8), kThreads, 0, stream>>>(a);
  else
    upsample_kernel<1><<<blocks_for(count), kThreads, 0, stream>>>(a);
  check_launch("enlarging pictures");
}

void patches(const Patches& a, cudaStream_t stream) {
  const int64_t count = a.batch * (a.height / a.patch) * (a.width / a.patch) * a.patch * a.patch * a.channels;
  if (count == 0) return;
  patches_kernel<<<blocks_for(count), kThreads, 0, stream>>>(a);
  check_launch("cutting pictures into patches");
}

void columns(const Columns& a, cudaStream_t stream) {
  const Extents e = extents_of(a.convolution);
  const int64_t count = a.count * e.in * e.kernel_height * e.kernel_width;
  if (count == 0) return;
  if (in_eights(e.in, {a.convolution.x, a.to}))
    columns_kernel<8><<<blocks_for(count / 8), kThreads, 0, stream>>>(a, e);
  else
    columns_kernel<1><<<blocks_for(count), kThreads, 0, stream>>>(a, e);
  check_launch("preparing a convolution");
}

void add_columns(const Convolution& a, const float* columns, int64_t pitch, float* d_x, cudaStream_t stream) {
  const Extents e = extents_of(a);
  const int64_t count = a.batch * a.height * a.width * e.in;
  if (count == 0) return;
  const auto whole = [](const float* data) {
    return reinterpret_cast<uintptr_t>(data) % sizeof(float4) == 0;
  };
  if (e.in % 4 == 0 && pitch % 4 == 0 && whole(columns) && whole(d_x))
    add_columns_kernel<4>
        <<<blocks_for(count / 4), kThreads, 0, stream>>>(a, e, columns, pitch, d_x, count / 4);
  else
    add_columns_kernel<1><<<blocks_for(count), kThreads, 0, stream>>>(a, e, columns, pitch, d_x, count);
  check_launch("going back through a convolution");
}

void pack_weight(const WeightPart& a, cudaStream_t stream) {
  if (a.rows * a.columns == 0) return;
  pack_weight_kernel<<<blocks_for(a.rows * a.columns), kThreads, 0, stream>>>(a);
  check_launch("packing weights");
}

}  // namespace eg4d::cuda
