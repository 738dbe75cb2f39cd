// The networks for single pictures on a device at their real sizes: the autoencoder's decoder for a video's
// frames, and SDXL's UNet with one picture: milliseconds, and of every operation, one at a time, by shape.
//
//   bench_device_images [f16 | bf16 | f32] [device = cuda] [repeats = 7] [decoder | sdxl]

#include <cmath>

#include "device_profile.h"
#include "diffusion/image_unet_skeleton.h"
#include "diffusion/vae.h"
#include "nn/network_type.h"
#include "nn/prepared_call.h"
#include "support/sdxl_manifest.h"
#include "support/temporary_folder.h"
#include "unet_benchmark.h"

namespace eg4d::bench {
namespace {

test::Manifest only(test::Manifest manifest, const std::string& prefix) {
  std::erase_if(manifest, [&](const auto& item) { return !item.first.starts_with(prefix); });
  return manifest;
}

void decode(Profile& backend, DType precision, int repeats) {
  const test::TemporaryFolder folder;
  write_random_weights(folder / "weights.safetensors",
                       only(test::read_manifest("sv3d_p"), "first_stage_model."));
  const WeightMap weights(folder / "weights.safetensors");
  for (const NetworkType& type : {exact_network_type(backend, precision), network_type(backend, precision)}) {
    AutoencoderDecoder decoder(backend, weights, "first_stage_model.", {.type = type});
    for (const int64_t together : {1, 3, 7, 21}) {
      const auto prepared = decoder.prepare({together, 72, 72, 4});
      const double ms = milliseconds_of(backend, repeats, [&] { prepared->run(); });
      fmt::print(
          "decoder, activations {}: {} pictures of 576² at a time: {:.1f} ms, 21 in {:.1f} ms; {:.2f} GiB\n",
          name_of(type.activations), together, ms, ms * 21 / static_cast<double>(together),
          gib(backend.allocated_bytes()));
      std::fflush(stdout);
    }
    backend.timing = true;
    backend.totals.clear();
    decoder.prepare({7, 72, 72, 4})->run();
    print_totals(backend);
    backend.timing = false;
  }
}

void sdxl(Profile& backend, DType precision, int repeats) {
  const test::TemporaryFolder folder;
  write_random_weights(folder / "weights.safetensors", only(test::sdxl_file(), "model.diffusion_model."));
  const double start = wall_seconds();
  const WeightMap weights(folder / "weights.safetensors");
  ImageUNet network(backend, weights, "model.diffusion_model.",
                    {.heads = {}, .type = network_type(backend, precision)});
  backend.wait();
  fmt::print("SDXL: weights in {:.2f} s, {:.2f} GiB\n", wall_seconds() - start, gib(network.weight_bytes()));
  const auto conditioning = network.condition(wave(backend, {1, 77, network.context_width()}),
                                              wave(backend, {1, network.vector_width()}));
  {
    ImageUNet::Call call(network, 72, 72, conditioning);
    const double ms = milliseconds_of(backend, repeats, [&] { call.run(); });
    fmt::print("SDXL, one picture, 72×72: {:.2f} ms; {:.2f} GiB\n\n", ms, gib(backend.allocated_bytes()));
    std::fflush(stdout);
  }
  backend.timing = true;
  backend.totals.clear();
  ImageUNet::Call(network, 72, 72, conditioning).run();
  print_totals(backend);
  backend.timing = false;
}

}  // namespace
}  // namespace eg4d::bench

int main(int argc, char** argv) {
  using namespace eg4d;
  const auto argument = [&](int i, const char* otherwise) {
    return std::string(argc > i ? argv[i] : otherwise);
  };
  bench::Profile backend(make_backend(argument(2, "cuda")));
  const DType precision = bench::type_of(argument(1, "f16"));
  const int repeats = std::stoi(argument(3, "7"));
  fmt::print("{}, {}\n", backend.name(), name_of(precision));
  if (argument(4, "decoder") == "decoder") bench::decode(backend, precision, repeats);
  if (argument(4, "sdxl") == "sdxl") bench::sdxl(backend, precision, repeats);
}
