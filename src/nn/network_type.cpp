#include "nn/network_type.h"

#include "core/error.h"

namespace eg4d {

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

NetworkType exact_network_type(const Backend& backend, DType precision) {
  if (precision == DType::f32 || !backend.computes_in(precision)) return {};
  return {DType::f32, DType::f32, NetworkType::Products::tf32};
}

}  // namespace eg4d
