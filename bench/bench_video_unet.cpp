// One forward pass of the full-size video UNet (both guidance halves): time, share of each kind of layer,
// memory.
//
//   bench_video_unet [frames = 21] [latent size = 72] [f32 | bf16] [checkpoint]
//
// Without a checkpoint, random f16 weights in the shapes of sv3d_p are written to a temporary file first (3
// GB).

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>

#include "diffusion/video_unet.h"
#include "support/temporary_folder.h"
#include "unet_benchmark.h"

namespace eg4d::bench {
namespace {

void run(int64_t frames, int64_t size, Precision precision, const std::filesystem::path& checkpoint) {
  TimedNetworks backend;
  double start = wall_seconds();
  std::unique_ptr<VideoUNet> network;
  {
    const WeightMap weights(checkpoint);
    network = std::make_unique<VideoUNet>(backend, weights, "model.diffusion_model.",
                                          VideoUNet::Options{.precision = precision});
  }
  fmt::print("{}; weights in {:.1f} s, {:.2f} GiB packed; resident {:.2f} GiB\n", backend.name(),
             wall_seconds() - start, gib(network->weight_bytes()), peak_resident_gib());
  std::fflush(stdout);
  const int64_t rows = 2 * frames;
  const auto numbers = [&](Shape shape) { return wave(backend, std::move(shape)); };
  const auto conditioning = network->condition(numbers({rows, 1, network->context_width()}),
                                               numbers({rows, network->vector_width()}), frames);
  const Tensor x = numbers({rows, size, size, network->in_channels()});
  backend.totals.clear();
  start = wall_seconds();
  const float step = 0.3f;
  const std::vector<float> y = network->forward(x, {&step, 1}, *conditioning).to_host();
  const double seconds = wall_seconds() - start;
  double sum = 0;
  for (const float value : y) sum += std::abs(value);

  print_operations(backend);
  fmt::print(
      "2×{}×{}×{}: {:.1f} s, {:.1f} % outside products, convolutions and attention; mean |output| {:.3f}\n"
      "memory: weights {:.2f} GiB, activations {:.2f} GiB, device peak {:.2f} GiB, process peak {:.2f} GiB\n",
      frames, size, size, seconds, 100 * (seconds - seconds_of_products(backend)) / seconds,
      sum / static_cast<double>(y.size()), gib(network->weight_bytes()), gib(network->activation_bytes()),
      gib(backend.peak_allocated_bytes()), peak_resident_gib());
}

}  // namespace
}  // namespace eg4d::bench

int main(int argc, char** argv) {
  using namespace eg4d;
  using namespace eg4d::bench;
  const int64_t frames = argc > 1 ? std::atoll(argv[1]) : 21, size = argc > 2 ? std::atoll(argv[2]) : 72;
  const Precision precision = argc > 3 && std::string(argv[3]) == "bf16" ? Precision::bf16 : Precision::f32;
  if (argc > 4) {
    run(frames, size, precision, argv[4]);
    return 0;
  }
  const test::TemporaryFolder folder;
  test::Manifest manifest = test::read_manifest("sv3d_p");
  std::erase_if(manifest, [](const auto& item) { return !item.first.starts_with("model.diffusion_model."); });
  write_random_weights(folder / "weights.safetensors", manifest);
  run(frames, size, precision, folder / "weights.safetensors");
}
