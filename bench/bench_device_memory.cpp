// What caps on a GPU's memory cost, with networks of full size and random weights: SV3D's UNet with attention
// injection, and the decoders for all frames of a video at once.
//
//   bench_device_memory [caps = 8G,12G,24G,none] [f16 | bf16 | f32] [device = cuda] [repeats = 5] [folder]
//   [all | call]
//
// In the folder weights are kept from one run to the next. "bits" tells results apart.

#include <fmt/format.h>

#include <bit>
#include <sstream>

#include "core/byte_size.h"
#include "device_profile.h"
#include "diffusion/vae.h"
#include "diffusion/video_unet.h"
#include "nn/network_type.h"
#include "report.h"
#include "support/temporary_folder.h"
#include "unet_benchmark.h"

namespace eg4d::bench {
namespace {

namespace fs = std::filesystem;

struct Files {
  fs::path unet, decoder, temporal;
};

fs::path random_weights(const fs::path& file, const std::string& model, const std::string& prefix) {
  if (fs::exists(file)) return file;
  test::Manifest manifest = test::read_manifest(model);
  std::erase_if(manifest, [&](const auto& item) { return !item.first.starts_with(prefix); });
  write_random_weights(file, manifest);
  return file;
}

uint32_t bits_of(const std::vector<float>& values) {
  uint32_t hash = 0x811c9dc5;
  for (const float value : values) hash = (hash ^ std::bit_cast<uint32_t>(value)) * 0x01000193;
  return hash;
}

// Prints the row of one cap and one kind of work; a cap that is too small is told in its place.
class Rows {
 public:
  Rows(const std::string& cap, const std::string& device, DType precision, int repeats)
      : cap_(cap), device_(device), precision_(precision), repeats_(repeats) {}

  template <class Work>
  void row(const std::string& what, const Work& work) {
    const size_t cap = cap_ == "none" ? 0 : parse_byte_size(cap_, "the cap");
    try {
      Profile backend(make_backend(device_, FieldPrecision::automatic, cap));
      const auto [ms, bits] = work(backend);
      const MemoryUse use = backend.memory_use();
      fmt::print("| {:>5} | {:<44} | {:8.1f} | {:08x} | {:6.2f} | {:6.2f} | {:6.2f} |\n", cap_, what, ms,
                 bits, gib(use.peak), gib(use.outside), gib(use.streamed));
    } catch (const Error& error) {
      fmt::print("| {:>5} | {:<44} | {} |\n", cap_, what, error.what());
    }
    std::fflush(stdout);
  }

  std::pair<double, uint32_t> call(Profile& backend, const fs::path& file) const {
    constexpr int64_t kFrames = 21, kSide = 72, kRows = 2 * kFrames;
    VideoUNet network(backend, WeightMap(file), "model.diffusion_model.",
                      VideoUNet::Options{.type = network_type(backend, precision_)});
    const auto conditioning = network.condition(wave(backend, {kRows, 1, network.context_width()}),
                                                wave(backend, {kRows, network.vector_width()}), kFrames);
    VideoUNet::Call call(network, {kRows, kFrames, kSide, kSide}, AttentionInjection::Options{});
    const Tensor x = wave(backend, {kRows, kSide, kSide, network.in_channels()});
    backend.run(Convert{.count = x.count(), .x = x.array(), .y = call.input().array()});
    call.set_timestep(0.3f);
    call.run(*conditioning, 0, true);
    const uint32_t bits = bits_of(call.prediction().to_host());
    return {milliseconds_of(backend, repeats_, [&] { call.run(*conditioning, 0, false); }), bits};
  }

  std::pair<double, uint32_t> decode(Profile& backend, const fs::path& file, int64_t frames,
                                     const NetworkType& type) const {
    AutoencoderDecoder decoder(backend, WeightMap(file), "first_stage_model.", {.type = type});
    const auto prepared = decoder.prepare({frames, 72, 72, 4});
    const Tensor x = wave(backend, prepared->input().shape());
    backend.run(CopyBytes{prepared->input().raw(), x.raw(), x.bytes()});
    const double ms = milliseconds_of(backend, std::min(repeats_, 3), [&] { prepared->run(); });
    return {ms, bits_of(prepared->output().to_host())};
  }

  void all(const Files& files, bool decoders) {
    row("SV3D's call with injection", [&](Profile& backend) { return call(backend, files.unet); });
    if (!decoders) return;
    for (const bool exact : {false, true}) {
      const auto type_on = [&](const Profile& backend) {
        return exact ? exact_network_type(backend, precision_) : network_type(backend, precision_);
      };
      const char* const name = exact ? "f32" : name_of(precision_);
      row(fmt::format("decoding 21 pictures of 576², {}", name),
          [&](Profile& backend) { return decode(backend, files.decoder, 21, type_on(backend)); });
      row(fmt::format("decoding a video of 25 frames of 576², {}", name),
          [&](Profile& backend) { return decode(backend, files.temporal, 25, type_on(backend)); });
    }
  }

 private:
  std::string cap_, device_;
  DType precision_;
  int repeats_;
};

void run(const std::string& caps, DType precision, const std::string& device, int repeats,
         const std::string& folder, bool decoders) {
  const test::TemporaryFolder temporary;
  const fs::path place = folder.empty() ? temporary.path() : fs::path(folder);
  fs::create_directories(place);
  const Files files{random_weights(place / "unet.safetensors", "sv3d_p", "model.diffusion_model."),
                    random_weights(place / "decoder.safetensors", "sv3d_p", "first_stage_model."),
                    random_weights(place / "temporal.safetensors", "svd_xt", "first_stage_model.")};
  fmt::print("{}\n", make_backend(device)->name());
  fmt::print(
      "|   cap | what                                         |       ms |     bits | peak, GiB | outside | "
      "streamed |\n");
  std::istringstream list(caps);
  for (std::string cap; std::getline(list, cap, ',');)
    Rows(cap, device, precision, repeats).all(files, decoders);
}

}  // namespace
}  // namespace eg4d::bench

int main(int argc, char** argv) {
  using namespace eg4d;
  const auto argument = [&](int i, const char* otherwise) {
    return std::string(argc > i ? argv[i] : otherwise);
  };
  bench::run(argument(1, "8G,12G,24G,none"), bench::type_of(argument(2, "f16")), argument(3, "cuda"),
             std::stoi(argument(4, "5")), argument(5, ""), argument(6, "all") == "all");
}
