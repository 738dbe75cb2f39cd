#include "nn/network_type.h"

#include "core/error.h"

namespace eg4d {

std::vector<std::pair<std::string, NetworkPrecision>> network_precision_names() {
  return {{"auto", NetworkPrecision::automatic},
          {"f32", NetworkPrecision::f32},
          {"bf16", NetworkPrecision::bf16},
          {"f16", NetworkPrecision::f16}};
}

DType precision_on(const Backend& backend, NetworkPrecision precision) {
  switch (precision) {
    case NetworkPrecision::automatic:
      return backend.computes_in(DType::f16) ? DType::f16 : DType::f32;
    case NetworkPrecision::f32:
      return DType::f32;
    case NetworkPrecision::bf16:
      return DType::bf16;
    case NetworkPrecision::f16:
      return DType::f16;
  }
  return DType::f32;
}

NetworkType network_type(const Backend& backend, DType precision) {
  if (precision == DType::f32) return {};
  NetworkType type{precision, precision, NetworkType::Products::half};
  if (backend.computes_in(precision)) return type;
  if (precision != DType::bf16)
    throw UsageError(
        "--precision f16 is for GPUs: the processor computes in f32, with weights and products in bf16 on "
        "request; give f32 or bf16");
  type.activations = DType::f32;
  return type;
}

NetworkType network_type(const Backend& backend, DType precision, FeedForwardProducts feed_forward) {
  NetworkType type = network_type(backend, precision);
  if (feed_forward == FeedForwardProducts::same) return type;
  if (!backend.has_fp8())
    throw UsageError(
        "--feed-forward fp8 is for NVIDIA GPUs of compute capability 8.9 and later (Ada, Hopper), which this "
        "device is not: leave it out");
  if (type.activations == DType::f32)
    throw UsageError("--feed-forward fp8 goes with --precision f16 or bf16, not f32");
  type.fp8_feed_forward = true;
  return type;
}

NetworkType exact_network_type(const Backend& backend, DType precision) {
  if (precision == DType::f32 || !backend.computes_in(precision)) return {};
  return {DType::f32, DType::f32, NetworkType::Products::tf32};
}

}  // namespace eg4d
