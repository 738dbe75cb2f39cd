#include "unet_benchmark.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <cmath>
#include <fstream>

#include "core/half.h"

namespace eg4d::bench {

void write_random_weights(const std::filesystem::path& path, const test::Manifest& manifest) {
  test::write_sparse_safetensors(path, manifest);
  uint64_t header = 0;
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.read(reinterpret_cast<char*>(&header), 8);
  file.seekp(static_cast<std::streamoff>(8 + header));
  uint32_t state = 1;
  for (const auto& [name, shape] : manifest) {
    const int64_t count = element_count(shape), inputs = shape.empty() ? 1 : count / shape[0];
    const bool norm = shape.size() == 1 && name.ends_with("weight");
    const float scale = shape.size() > 1 ? std::sqrt(3.0f / static_cast<float>(inputs)) : 0.1f;
    std::vector<uint16_t> values(static_cast<size_t>(count));
    for (uint16_t& value : values) {
      state = state * 1664525u + 1013904223u;
      value = float_to_half((static_cast<float>(state >> 8) * 0x1p-23f - 1) * scale + (norm ? 1 : 0));
    }
    file.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * 2));
  }
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
