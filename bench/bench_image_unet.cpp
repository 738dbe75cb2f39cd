// SDXL at its real size: one evaluation of the UNet, and the autoencoder there and back: time, share of each
// kind of layer, memory. That is what refining one picture takes. Then its ControlNet, which the depth
// variant evaluates beside the UNet.
//
//   bench_image_unet [latent size = 72] [f32 | bf16] [checkpoint | control]
//
// Without a checkpoint, random f16 weights in SDXL's shapes are written to a temporary file first (5 GB);
// with "control" those of the ControlNet alone are (2.5 GB), and it alone is run.

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>

#include "diffusion/control_checkpoint.h"
#include "diffusion/image_unet_frame.h"
#include "diffusion/vae.h"
#include "support/sdxl_manifest.h"
#include "support/temporary_folder.h"
#include "unet_benchmark.h"

namespace eg4d::bench {
namespace {

// Runs twice, as the first time prepares the operations for their shapes, and tells about the second.
template <class Body>
double report(TimedNetworks& backend, const std::string& what, const Body& body) {
  body();
  backend.totals.clear();
  const double start = wall_seconds();
  const Tensor result = body();
  const double seconds = wall_seconds() - start;
  double sum = 0;
  for (const float value : result.to_host()) sum += std::abs(value);
  fmt::print("{}: {:.2f} s, {:.1f} % outside products, convolutions and attention; mean |output| {:.3f}\n",
             what, seconds, 100 * (seconds - seconds_of_products(backend)) / seconds,
             sum / static_cast<double>(result.count()));
  print_operations(backend);
  std::fflush(stdout);
  return seconds;
}

double run_unet(TimedNetworks& backend, const WeightMap& weights, int64_t size, const NetworkType& type) {
  const double start = wall_seconds();
  ImageUNet network(backend, weights, "model.diffusion_model.", {.heads = {}, .type = type});
  fmt::print("UNet: weights in {:.1f} s, {:.2f} GiB packed\n", wall_seconds() - start,
             gib(network.weight_bytes()));
  const auto conditioning = network.condition(wave(backend, {1, 77, network.context_width()}),
                                              wave(backend, {1, network.vector_width()}));
  const Tensor x = wave(backend, {1, size, size, network.channels()});
  const float step = 99;
  const double seconds = report(backend, fmt::format("UNet {}×{}", size, size), [&] {
    return network.forward(x, {&step, 1}, *conditioning);
  });
  fmt::print("memory: activations {:.2f} GiB\n", gib(network.activation_bytes()));
  return seconds;
}

double run_autoencoder(TimedNetworks& backend, const WeightMap& weights, int64_t size) {
  AutoencoderEncoder encoder(backend, weights, "first_stage_model.");
  AutoencoderDecoder decoder(backend, weights, "first_stage_model.");
  const Tensor picture = wave(backend, {1, 8 * size, 8 * size, 3}),
               latents = wave(backend, {1, size, size, 4});
  double seconds = report(backend, "encoder", [&] { return encoder.moments(picture); });
  const Tensor d_picture = Tensor::zeros(backend, picture.shape());
  report(backend, "encoder with gradient (score distillation)", [&] {
    encoder.differentiate(
        picture, [](const Tensor& mode) { return mode; }, d_picture);
    return d_picture;
  });
  fmt::print("memory: activations {:.2f} GiB\n", gib(encoder.activation_bytes()));
  seconds += report(backend, "decoder", [&] { return decoder.decode(latents, 1, 1); });
  fmt::print("memory: activations {:.2f} GiB\n", gib(decoder.activation_bytes()));
  return seconds;
}

void run_control_net(int64_t size, const NetworkType& type) {
  const test::TemporaryFolder folder;
  write_random_weights(folder / "control.safetensors", test::sdxl_control_net());
  TimedNetworks backend;
  fmt::print("{}\n", backend.name());
  const double start = wall_seconds();
  const auto network = ControlNetCheckpoint(folder / "control.safetensors").network(backend, type);
  fmt::print("ControlNet: weights in {:.1f} s, {:.2f} GiB packed\n", wall_seconds() - start,
             gib(network->weight_bytes()));
  const auto conditioning = network->condition(wave(backend, {1, 77, 2048}), wave(backend, {1, 2816}));
  const Tensor x = wave(backend, {1, size, size, 4}), hint = wave(backend, {1, 8 * size, 8 * size, 3});
  Tensor embedded;
  report(backend, "hint", [&] { return embedded = network->embed_hint(hint); });
  const float step = 99;
  report(backend, fmt::format("ControlNet {}×{}", size, size), [&] {
    return network->forward(x, {&step, 1}, *conditioning, embedded, 1).values.middle;
  });
  fmt::print("memory: activations {:.2f} GiB; process peak {:.2f} GiB\n", gib(network->activation_bytes()),
             peak_resident_gib());
}

void run(int64_t size, const NetworkType& type, const std::filesystem::path& checkpoint) {
  TimedNetworks backend;
  const WeightMap weights(checkpoint);
  fmt::print("{}\n", backend.name());
  double seconds = run_unet(backend, weights, size, type);
  seconds += run_autoencoder(backend, weights, size);
  fmt::print("one picture of {}×{}: {:.1f} s; process peak {:.2f} GiB\n", 8 * size, 8 * size, seconds,
             peak_resident_gib());
}

}  // namespace
}  // namespace eg4d::bench

int main(int argc, char** argv) {
  using namespace eg4d;
  using namespace eg4d::bench;
  const int64_t size = argc > 1 ? std::atoll(argv[1]) : 72;
  const NetworkType type = type_named(argc > 2 ? argv[2] : "f32");
  if (argc > 3 && std::string(argv[3]) == "control") {
    run_control_net(size, type);
    return 0;
  }
  if (argc > 3) {
    run(size, type, argv[3]);
    return 0;
  }
  const test::TemporaryFolder folder;
  test::Manifest manifest = test::sdxl_file();
  std::erase_if(manifest, [](const auto& item) { return item.first.starts_with("conditioner."); });
  write_random_weights(folder / "weights.safetensors", manifest);
  run(size, type, folder / "weights.safetensors");
}
