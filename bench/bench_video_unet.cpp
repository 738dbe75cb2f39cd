// One forward pass of the full-size video UNet (both guidance halves): time, share of each kind of layer,
// memory.
//
//   bench_video_unet [frames = 21] [latent size = 72] [f32 | bf16] [checkpoint]
//
// Without a checkpoint, random f16 weights in the shapes of sv3d_p are written to a temporary file first (3
// GB).

#include <fmt/format.h>
#include <sys/resource.h>

#include <cmath>
#include <cstdlib>
#include <fstream>

#include "core/half.h"
#include "diffusion/video_unet.h"
#include "support/manifest.h"
#include "support/temporary_folder.h"
#include "timed_networks.h"

namespace eg4d {
namespace {

// Pseudo-random numbers that keep the activations' size: norms near one, weights of variance 1/inputs.
void write_random_weights(const std::filesystem::path& path) {
  test::Manifest manifest = test::read_manifest("sv3d_p");
  std::erase_if(manifest, [](const auto& item) { return !item.first.starts_with("model.diffusion_model."); });
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

double gib(size_t bytes) {
  return static_cast<double>(bytes) / (1 << 30);
}

double peak_resident_gib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / (1 << 20);
}

void run(int64_t frames, int64_t size, Precision precision, const std::filesystem::path& checkpoint) {
  bench::TimedNetworks backend;
  double start = bench::wall_seconds();
  std::unique_ptr<VideoUNet> network;
  {
    const WeightMap weights(checkpoint);
    network = std::make_unique<VideoUNet>(backend, weights, "model.diffusion_model.",
                                          VideoUNet::Options{.precision = precision});
  }
  fmt::print("{}; weights in {:.1f} s, {:.2f} GiB packed; resident {:.2f} GiB\n", backend.name(),
             bench::wall_seconds() - start, gib(network->weight_bytes()), peak_resident_gib());
  std::fflush(stdout);
  const int64_t rows = 2 * frames;
  const auto numbers = [&](Shape shape) {
    std::vector<float> values(static_cast<size_t>(element_count(shape)));
    for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i % 10007) * 1.7f);
    return Tensor::from_host<float>(backend, std::move(shape), values);
  };
  const auto conditioning = network->condition(numbers({rows, 1, network->context_width()}),
                                               numbers({rows, network->vector_width()}), frames);
  const Tensor x = numbers({rows, size, size, network->in_channels()});
  backend.timed.totals.clear();
  start = bench::wall_seconds();
  const float step = 0.3f;
  const std::vector<float> y = network->forward(x, {&step, 1}, *conditioning).to_host();
  const double seconds = bench::wall_seconds() - start;
  double sum = 0;
  for (const float value : y) sum += std::abs(value);

  double products = 0, all = 0;
  for (const auto& [kind, total] : backend.timed.totals) {
    all += total.seconds;
    if (kind == "linear" || kind == "convolution" || kind.starts_with("attention")) products += total.seconds;
  }
  for (const auto& [kind, total] : backend.timed.totals)
    fmt::print("  {:<22} {:5} calls {:9.2f} s {:6.1f} %\n", kind, total.calls, total.seconds,
               100 * total.seconds / all);
  fmt::print(
      "2×{}×{}×{}: {:.1f} s, {:.1f} % outside products, convolutions and attention; mean |output| {:.3f}\n"
      "memory: weights {:.2f} GiB, activations {:.2f} GiB, device peak {:.2f} GiB, process peak {:.2f} GiB\n",
      frames, size, size, seconds, 100 * (seconds - products) / seconds, sum / static_cast<double>(y.size()),
      gib(network->weight_bytes()), gib(network->activation_bytes()), gib(backend.peak_allocated_bytes()),
      peak_resident_gib());
}

}  // namespace
}  // namespace eg4d

int main(int argc, char** argv) {
  using namespace eg4d;
  const int64_t frames = argc > 1 ? std::atoll(argv[1]) : 21, size = argc > 2 ? std::atoll(argv[2]) : 72;
  const Precision precision = argc > 3 && std::string(argv[3]) == "bf16" ? Precision::bf16 : Precision::f32;
  if (argc > 4) {
    run(frames, size, precision, argv[4]);
    return 0;
  }
  const test::TemporaryFolder folder;
  write_random_weights(folder / "weights.safetensors");
  run(frames, size, precision, folder / "weights.safetensors");
}
