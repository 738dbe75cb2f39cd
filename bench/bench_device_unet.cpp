// The full-size video UNet on a device (both guidance halves): milliseconds of a prepared call, with and
// without attention injection, and of every operation in it, one at a time, by shape.
//
//   bench_device_unet [frames = 21] [latent size = 72] [f16 | bf16 | f32] [device = cuda] [repeats = 10]
//   [weights]
//
// Weights are random, of sv3d_p's shapes and of a scale that keeps activations near one; written to the file
// of that name where it is not there, to a temporary one without a name.

#include <fmt/format.h>

#include <cmath>

#include "device_profile.h"
#include "diffusion/video_unet.h"
#include "nn/network_type.h"
#include "support/temporary_folder.h"
#include "unet_benchmark.h"

namespace eg4d::bench {
namespace {

void run(int64_t frames, int64_t size, DType precision, const std::string& device, int repeats,
         const std::string& file) {
  Profile backend(make_backend(device));
  const NetworkType type = network_type(backend, precision);
  const test::TemporaryFolder folder;
  const std::filesystem::path path =
      file.empty() ? folder / "weights.safetensors" : std::filesystem::path(file);
  if (!std::filesystem::exists(path)) {
    test::Manifest manifest = test::read_manifest("sv3d_p");
    std::erase_if(manifest,
                  [](const auto& item) { return !item.first.starts_with("model.diffusion_model."); });
    write_random_weights(path, manifest);
  }
  double start = wall_seconds();
  const WeightMap weights(path);
  VideoUNet network(backend, weights, "model.diffusion_model.", VideoUNet::Options{.type = type});
  backend.wait();
  fmt::print("{}, {}: weights in {:.2f} s, {:.2f} GiB\n", backend.name(), name_of(precision),
             wall_seconds() - start, gib(network.weight_bytes()));
  std::fflush(stdout);
  const int64_t rows = 2 * frames;
  const auto numbers = [&](Shape shape) { return wave(backend, std::move(shape)); };
  const auto conditioning = network.condition(numbers({rows, 1, network.context_width()}),
                                              numbers({rows, network.vector_width()}), frames);
  const Tensor x = numbers({rows, size, size, network.in_channels()});
  const VideoUNet::Call::Size extents{rows, frames, size, size};
  const auto prepare = [&](VideoUNet::Call& call) {
    backend.run(Convert{.count = x.count(), .x = x.array(), .y = call.input().array()});
    call.set_timestep(0.3f);
  };
  {
    VideoUNet::Call call(network, extents);
    prepare(call);
    start = wall_seconds();
    call.run(*conditioning);
    const std::vector<float> y = call.prediction().to_host();
    const double first = wall_seconds() - start;
    double sum = 0;
    for (const float value : y) sum += std::abs(value);
    const double ms = milliseconds_of(backend, repeats, [&] { call.run(*conditioning); });
    fmt::print(
        "2×{}×{}×{}: {:.1f} ms a call (the first {:.1f} s); mean |prediction| {:.4f}; device memory {:.2f} "
        "GiB\n",
        frames, size, size, ms, first, sum / static_cast<double>(y.size()), gib(backend.allocated_bytes()));
    std::fflush(stdout);
  }
  {
    VideoUNet::Call call(network, extents, AttentionInjection::Options{});
    prepare(call);
    for (const bool first : {true, false}) {
      const double ms = milliseconds_of(backend, repeats, [&] { call.run(*conditioning, 0, first); });
      fmt::print("with injection, {} video: {:.1f} ms; device memory {:.2f} GiB\n",
                 first ? "first" : "another", ms, gib(backend.allocated_bytes()));
      std::fflush(stdout);
    }
  }
  backend.timing = true;
  VideoUNet::Call call(network, extents);
  prepare(call);
  backend.totals.clear();
  call.run(*conditioning);
  print_totals(backend);
}

}  // namespace
}  // namespace eg4d::bench

int main(int argc, char** argv) {
  using namespace eg4d;
  const auto argument = [&](int i, const char* otherwise) {
    return std::string(argc > i ? argv[i] : otherwise);
  };
  bench::run(std::stoll(argument(1, "21")), std::stoll(argument(2, "72")), bench::type_of(argument(3, "f16")),
             argument(4, "cuda"), std::stoi(argument(5, "10")), argument(6, ""));
}
