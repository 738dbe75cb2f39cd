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

// The second run: the first one records.
double seconds_of_prepared(VideoUNet& network, const VideoUNet::Call::Size& size, const Tensor& x,
                           const VideoUNet::Conditioning& conditioning) {
  VideoUNet::Call call(network, size);
  x.backend().run(Convert{.count = x.count(), .x = x.array(), .y = call.input().array()});
  call.set_timestep(0.3f);
  call.run(conditioning);
  const double start = wall_seconds();
  call.run(conditioning);
  call.prediction().to_host();
  return wall_seconds() - start;
}

void run(int64_t frames, int64_t size, const NetworkType& type, const std::filesystem::path& checkpoint) {
  TimedNetworks backend;
  double start = wall_seconds();
  std::unique_ptr<VideoUNet> network;
  {
    const WeightMap weights(checkpoint);
    network = std::make_unique<VideoUNet>(backend, weights, "model.diffusion_model.",
                                          VideoUNet::Options{.type = type});
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
      "2×{}×{}×{}: {:.1f} s, {:.1f} % outside products, convolutions and attention; mean |output| {:.3f}\n",
      frames, size, size, seconds, 100 * (seconds - seconds_of_products(backend)) / seconds,
      sum / static_cast<double>(y.size()));
  fmt::print(
      "prepared and replayed: {:.1f} s\n"
      "memory: weights {:.2f} GiB, activations {:.2f} GiB, device peak {:.2f} GiB, process peak {:.2f} GiB\n",
      seconds_of_prepared(*network, {rows, frames, size, size}, x, *conditioning),
      gib(network->weight_bytes()), gib(network->activation_bytes()), gib(backend.peak_allocated_bytes()),
      peak_resident_gib());
}

}  // namespace
}  // namespace eg4d::bench

int main(int argc, char** argv) {
  using namespace eg4d;
  using namespace eg4d::bench;
  const int64_t frames = argc > 1 ? std::atoll(argv[1]) : 21, size = argc > 2 ? std::atoll(argv[2]) : 72;
  const NetworkType type = type_named(argc > 3 ? argv[3] : "f32");
  if (argc > 4) {
    run(frames, size, type, argv[4]);
    return 0;
  }
  const test::TemporaryFolder folder;
  test::Manifest manifest = test::read_manifest("sv3d_p");
  std::erase_if(manifest, [](const auto& item) { return !item.first.starts_with("model.diffusion_model."); });
  write_random_weights(folder / "weights.safetensors", manifest);
  run(frames, size, type, folder / "weights.safetensors");
}
