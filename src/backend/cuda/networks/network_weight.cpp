#include "backend/cuda/networks/network_weight.h"

#include <fmt/format.h>

#include "backend/cuda/check.h"
#include "backend/cuda/networks/fp8.h"
#include "backend/cuda/networks/network_kernels.h"
#include "core/error.h"

namespace eg4d::cuda {
namespace {

// Smaller weights stay where they are: they are next to nothing in bytes.
constexpr size_t kLeastMoved = size_t{64} << 10;

// Products of 32 bits take weights of 32 bits, rounded or not.
DType operands_of(const NetworkType& type) {
  const bool sixteen_bits =
      type.products == NetworkType::Products::half || type.products == NetworkType::Products::fp8;
  return sixteen_bits ? type.weights : DType::f32;
}

}  // namespace

NetworkWeight::NetworkWeight(Memory& memory, WeightStore& store, const Extents& extents,
                             const NetworkType& type)
    : PackedWeight(extents),
      operands(operands_of(type)),
      tf32(type.products == NetworkType::Products::tf32),
      fp8(type.products == NetworkType::Products::fp8),
      memory_(memory),
      store_(store) {}

NetworkWeight::NetworkWeight(Memory& memory, WeightStore& store, cudaStream_t stream,
                             const LinearWeight& from)
    : NetworkWeight(memory, store, {.in = from.in, .out = from.out}, from.type) {
  take(stream, from.weight, from.bias, from.type);
}

NetworkWeight::NetworkWeight(Memory& memory, WeightStore& store, cudaStream_t stream,
                             const ConvolutionWeight& from)
    : NetworkWeight(memory, store, {from.in, from.out, from.kernel_height, from.kernel_width}, from.type) {
  take(stream, from.weight, from.bias, from.type);
}

NetworkWeight::~NetworkWeight() {
  memory_.release(small_);
  if (bias_of_operands_ != bias_) memory_.release(bias_of_operands_);
  memory_.release(bias_);
  memory_.release(scales_);
}

void* NetworkWeight::allocate(size_t bytes) {
  void* const memory = memory_.allocate(bytes);
  bytes_ += bytes;
  return memory;
}

void* NetworkWeight::allocate_data(size_t bytes) {
  if (bytes < kLeastMoved) return small_ = allocate(bytes);
  piece_ = store_.take(bytes);
  bytes_ += bytes;
  return piece_.data();
}

void NetworkWeight::take(cudaStream_t stream, const StoredWeight& weight, const StoredWeight& bias,
                         const NetworkType& type) {
  if (fp8) {
    take_in_eight_bits(stream, weight, type);
  } else {
    const auto count = static_cast<size_t>(extents.out * inputs());
    void* const data = allocate_data(count * size_of(operands));
    upload(stream, weight, type.weights, inputs(), taps(), {data, operands});
  }
  piece_.filled();
  if (!bias) return;
  const auto outputs = static_cast<size_t>(extents.out);
  bias_ = static_cast<float*>(allocate(outputs * sizeof(float)));
  upload(stream, bias, DType::f32, 1, 1, bias_);
  bias_of_operands_ = bias_;
  if (operands == DType::f32) return;
  bias_of_operands_ = allocate(outputs * size_of(operands));
  convert({.count = extents.out, .x = bias_, .y = {bias_of_operands_, operands}}, stream);
}

void NetworkWeight::take_in_eight_bits(cudaStream_t stream, const StoredWeight& weight,
                                       const NetworkType& type) {
  if (!quantized_rows_take(extents.in) || !quantized_rows_take(extents.out))
    throw Error(fmt::format("products of 8 bits take widths that are multiples of {}, not {} and {}",
                            kQuantizedMultiple, extents.in, extents.out));
  const auto count = static_cast<size_t>(extents.out * extents.in);
  auto* const numbers = static_cast<uint8_t*>(allocate_data(count));
  scales_ = static_cast<float*>(allocate(static_cast<size_t>(extents.out) * sizeof(float)));
  void* const wide = memory_.allocate(count * size_of(operands));
  try {
    upload(stream, weight, type.weights, extents.in, 1, {wide, operands});
    quantize_rows({.rows = extents.out, .width = extents.in, .x = {wide, operands}, .y = {numbers, scales_}},
                  stream);
  } catch (...) {
    memory_.release(wide);
    throw;
  }
  memory_.release(wide);
}

// As it is stored, to the device, and there into place. Parts need not say how long their rows are unless
// they are transposed.
void NetworkWeight::upload(cudaStream_t stream, const StoredWeight& from, DType rounded_to, int64_t columns,
                           int64_t taps, Array to) {
  for (const StoredWeight::Part& part : from.parts) {
    const int64_t count = part.rows * part.columns;
    if (count == 0) continue;
    const size_t bytes = static_cast<size_t>(count) * size_of(part.type);
    void* const stored = memory_.allocate(bytes);
    // Of pageable memory: it is read before the call returns.
    const cudaError_t status = cudaMemcpyAsync(stored, part.data, bytes, cudaMemcpyHostToDevice, stream);
    if (status == cudaSuccess)
      pack_weight({.from = {stored, part.type},
                   .rows = count / columns,
                   .columns = columns,
                   .taps = taps,
                   .transposed = part.transposed,
                   .scale = from.scale,
                   .rounded_to = rounded_to,
                   .to = to},
                  stream);
    memory_.release(stored);
    check(status, "copying weights to it");
    to = to.at(count);
  }
}

}  // namespace eg4d::cuda
