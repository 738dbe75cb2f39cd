#pragma once

#include <string>
#include <utility>
#include <vector>

#include "backend/backend.h"

namespace eg4d {

// The setting "precision" of networks. automatic is what the device is made for: f16 where it computes in
// that (GPUs), f32 on the processor.
enum class NetworkPrecision { automatic, f32, bf16, f16 };
std::vector<std::pair<std::string, NetworkPrecision>> network_precision_names();
DType precision_on(const Backend& backend, NetworkPrecision precision);

// What a precision means on a device. f16, bf16: activations, weights and products are of that type where the
// device computes in it. On the processor bf16 is the type of weights and products alone, activations are
// f32, and f16 is refused: throws UsageError that says so.
NetworkType network_type(const Backend& backend, DType precision);

// What --feed-forward asks for: products of the same type as all others, or of fp8.
enum class FeedForwardProducts { same, fp8 };
// Throws UsageError also for fp8 where the device has none, or activations are not of 16 bits.
NetworkType network_type(const Backend& backend, DType precision, FeedForwardProducts feed_forward);

// The same for networks that need f32's range or resolution whatever the others are computed in: the
// autoencoders (SDXL's overflows in f16, and pictures in bf16 show steps), and those that look at pictures
// once in a while. Products may be TF32's.
NetworkType exact_network_type(const Backend& backend, DType precision);

}  // namespace eg4d
