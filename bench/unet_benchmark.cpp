#include "unet_benchmark.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <cmath>
#include <memory>
#include <span>
#include <vector>

#include "core/half.h"
#include "core/threads.h"
#include "io/safetensors.h"

namespace eg4d::bench {

namespace {

// Uniform in middle ± scale; the same whatever the number of threads.
void fill(std::span<uint16_t> values, uint32_t seed, float middle, float scale) {
  constexpr int64_t kChunk = int64_t{1} << 16;
  parallel_for(static_cast<int64_t>(values.size()), kChunk, [&](int64_t begin, int64_t end) {
    uint32_t state = (seed * 0x9e3779b9u + static_cast<uint32_t>(begin / kChunk)) * 0x85ebca6bu + 1;
    for (int64_t i = begin; i < end; ++i) {
      state = state * 1664525u + 1013904223u;
      values[static_cast<size_t>(i)] =
          float_to_half((static_cast<float>(state >> 8) * 0x1p-23f - 1) * scale + middle);
    }
  });
}

}  // namespace

void write_random_weights(const std::filesystem::path& path, const test::Manifest& manifest) {
  size_t count = 0;
  for (const auto& [name, shape] : manifest) count += static_cast<size_t>(element_count(shape));
  const auto values = std::make_unique_for_overwrite<uint16_t[]>(count);
  uint16_t* next = values.get();
  std::vector<SafetensorsTensor> tensors;
  for (const auto& [name, shape] : manifest) {
    const auto own = static_cast<size_t>(element_count(shape));
    const float inputs = shape.empty() ? 1 : static_cast<float>(own) / static_cast<float>(shape[0]);
    const bool norm = shape.size() == 1 && name.ends_with("weight");
    float scale = shape.size() > 1 ? std::sqrt(3 / inputs) : 0.1f, middle = norm ? 1 : 0;
    if (name.starts_with("lin")) middle = scale /= 2;
    fill({next, own}, static_cast<uint32_t>(tensors.size()), middle, scale);
    tensors.push_back({name, DType::f16, shape, next});
    next += own;
  }
  write_safetensors(path, tensors);
}

Tensor wave(Backend& backend, Shape shape) {
  std::vector<float> values(static_cast<size_t>(element_count(shape)));
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i % 10007) * 1.7f);
  return Tensor::from_host<float>(backend, std::move(shape), values);
}

double seconds_of_products(const TimedNetworks& backend) {
  double seconds = 0;
  for (const auto& [kind, total] : backend.totals)
    if (kind.starts_with("linear") || kind.starts_with("convolution") || kind.starts_with("attention") ||
        kind == "feed forward")
      seconds += total.seconds;
  return seconds;
}

void print_operations(const TimedNetworks& backend) {
  double all = 0;
  for (const auto& [kind, total] : backend.totals) all += total.seconds;
  for (const auto& [kind, total] : backend.totals)
    fmt::print("  {:<22} {:5} calls {:9.2f} s {:6.1f} %\n", kind, total.calls, total.seconds,
               100 * total.seconds / all);
}

NetworkType type_named(const std::string& precision) {
  if (precision != "bf16") return {};
  return {.weights = DType::bf16, .products = NetworkType::Products::half};
}

double gib(size_t bytes) {
  return static_cast<double>(bytes) / (1 << 30);
}

double peak_resident_gib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / (1 << 20);
}

}  // namespace eg4d::bench
