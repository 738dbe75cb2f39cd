// What caps on a GPU's memory cost, with networks of full size and random weights: the video UNet for SV3D's
// 21 frames and SVD-XT's 25, alone and with attention injection, and the decoders for all frames of a video
// at once, in the precision and as the program runs them (exact_network_type: activations f32).
//
//   bench_device_memory [cap:work,... = 12G:all,none:all] [f16 | bf16 | f32] [device = cuda] [repeats = 5]
//   [folder]
//
// work: all, or letters of i (injection, 21 frames), I (25), c (the call alone, 21), C (25), p (pictures,
// exact), v (video, exact), P and V (in the precision). In the folder weights are kept from one run to the
// next. "bits" tells results apart; "peak" is of everything that the process took; "streamed" is what of the
// weights waited on the host. The first time of a shape is not part of the time.

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

struct Result {
  double ms = 0;
  uint32_t bits = 0;
  MemoryUse use;
};

// Prints the row of one cap and one kind of work; a cap that is too small is told in its place.
class Rows {
 public:
  Rows(const std::string& cap, const std::string& device, DType precision, int repeats, const Files& files)
      : cap_(cap), device_(device), precision_(precision), repeats_(repeats), files_(files) {}

  void row(char work) const {
    const size_t cap = cap_ == "none" ? 0 : parse_byte_size(cap_, "the cap");
    const bool of_xt = work == 'I' || work == 'C';
    const char* const precision = work == 'p' || work == 'v' ? "exact" : name_of(precision_);
    std::string what = fmt::format("call, {} frames of 576²", of_xt ? 25 : 21);
    if (work == 'i' || work == 'I') what += ", injection";
    if (work == 'p' || work == 'P') what = fmt::format("decoding 21 pictures, {}", precision);
    if (work == 'v' || work == 'V') what = fmt::format("decoding a video of 25 frames, {}", precision);
    try {
      Profile backend(make_backend(device_, FieldPrecision::automatic, cap));
      const Result result = run(backend, work, of_xt ? 25 : 21);
      fmt::print("| {:>5} | {:<38} | {:8.1f} | {:08x} | {:6.2f} | {:6.2f} | {:6.2f} |\n", cap_, what,
                 result.ms, result.bits, gib(result.use.peak), gib(result.use.outside),
                 gib(result.use.streamed));
    } catch (const Error& error) {
      fmt::print("| {:>5} | {:<38} | {} |\n", cap_, what, error.what());
    }
    std::fflush(stdout);
  }

 private:
  Result run(Profile& backend, char work, int64_t frames) const {
    switch (work) {
      case 'i':
      case 'I':
        return call(backend, frames, true);
      case 'c':
      case 'C':
        return call(backend, frames, false);
      case 'p':
        return decode(backend, files_.decoder, 21, exact_network_type(backend, precision_));
      case 'P':
        return decode(backend, files_.decoder, 21, network_type(backend, precision_));
      case 'v':
        return decode(backend, files_.temporal, 25, exact_network_type(backend, precision_));
      case 'V':
        return decode(backend, files_.temporal, 25, network_type(backend, precision_));
      default:
        throw Error(fmt::format("there is no work '{}'", work));
    }
  }

  Result call(Profile& backend, int64_t frames, bool injection) const {
    constexpr int64_t kSide = 72;
    const int64_t rows = 2 * frames;
    VideoUNet network(backend, WeightMap(files_.unet), "model.diffusion_model.",
                      VideoUNet::Options{.type = network_type(backend, precision_)});
    const auto conditioning = network.condition(wave(backend, {rows, 1, network.context_width()}),
                                                wave(backend, {rows, network.vector_width()}), frames);
    VideoUNet::Call call(network, {rows, frames, kSide, kSide},
                         injection ? std::optional(AttentionInjection::Options{}) : std::nullopt);
    const Tensor x = wave(backend, {rows, kSide, kSide, network.in_channels()});
    backend.run(Convert{.count = x.count(), .x = x.array(), .y = call.input().array()});
    call.set_timestep(0.3f);
    call.run(*conditioning, 0, true);
    const uint32_t bits = bits_of(call.prediction().to_host());
    const double ms = milliseconds_of(backend, repeats_, [&] { call.run(*conditioning, 0, !injection); });
    return {ms, bits, backend.memory_use()};
  }

  Result decode(Profile& backend, const fs::path& file, int64_t frames, const NetworkType& type) const {
    AutoencoderDecoder decoder(backend, WeightMap(file), "first_stage_model.", {.type = type});
    const auto prepared = decoder.prepare({frames, 72, 72, 4});
    const Tensor x = wave(backend, prepared->input().shape());
    backend.run(CopyBytes{prepared->input().raw(), x.raw(), x.bytes()});
    const double ms = milliseconds_of(backend, std::min(repeats_, 3), [&] { prepared->run(); });
    return {ms, bits_of(prepared->output().to_host()), backend.memory_use()};
  }

  const std::string cap_, device_;
  const DType precision_;
  const int repeats_;
  const Files& files_;
};

void run(const std::string& caps, DType precision, const std::string& device, int repeats,
         const std::string& folder) {
  const test::TemporaryFolder temporary;
  const fs::path place = folder.empty() ? temporary.path() : fs::path(folder);
  fs::create_directories(place);
  const Files files{random_weights(place / "unet.safetensors", "sv3d_p", "model.diffusion_model."),
                    random_weights(place / "decoder.safetensors", "sv3d_p", "first_stage_model."),
                    random_weights(place / "temporal.safetensors", "svd_xt", "first_stage_model.")};
  fmt::print("{}\n", make_backend(device)->name());
  fmt::print(
      "|   cap | what                                   |       ms |     bits | peak, GiB | outside | "
      "streamed |\n");
  std::istringstream list(caps);
  for (std::string item; std::getline(list, item, ',');) {
    const size_t colon = std::min(item.find(':'), item.size());
    const std::string works = colon < item.size() ? item.substr(colon + 1) : "all";
    const Rows rows(item.substr(0, colon), device, precision, repeats, files);
    for (const char work : works == "all" ? std::string("iIpv") : works) rows.row(work);
  }
}

}  // namespace
}  // namespace eg4d::bench

int main(int argc, char** argv) {
  using namespace eg4d;
  const auto argument = [&](int i, const char* otherwise) {
    return std::string(argc > i ? argv[i] : otherwise);
  };
  bench::run(argument(1, "12G:all,none:all"), bench::type_of(argument(2, "f16")), argument(3, "cuda"),
             std::stoi(argument(4, "5")), argument(5, ""));
}
