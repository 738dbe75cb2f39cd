// The full-size video UNet on a GPU (both guidance halves) with the options that are faster than exact:
// milliseconds of a whole call, of the outermost blocks alone (step_cache.h), and with feed-forward networks
// of 8 bits, with the relative error of the prediction. Weights are random (bench_device_unet says how), so
// that the errors tell how rounding adds up, and nothing of pictures.
//
//   bench_faster_unet [frames = 21] [latent size = 72] [device = cuda] [repeats = 10] [weights]

#include <fmt/format.h>

#include <cmath>

#include "device_profile.h"
#include "diffusion/video_unet.h"
#include "nn/network_type.h"
#include "support/golden.h"
#include "support/temporary_folder.h"
#include "unet_benchmark.h"

namespace eg4d::bench {
namespace {

class Calls {
 public:
  Calls(Profile& backend, VideoUNet& network, int64_t frames, int64_t size)
      : backend_(backend),
        network_(network),
        size_{2 * frames, frames, size, size},
        x_(wave(backend, {2 * frames, size, size, network.in_channels()})),
        conditioning_(network.condition(wave(backend, {2 * frames, 1, network.context_width()}),
                                        wave(backend, {2 * frames, network.vector_width()}), frames)) {}

  VideoUNet::Call prepare(const StepCache& cache = {},
                          const std::optional<AttentionInjection::Options>& injection = {}) {
    return VideoUNet::Call(network_, size_, injection, cache);
  }
  // Of so many steps from a whole one on.
  double milliseconds(VideoUNet::Call& call, int repeats, int steps = 1, bool first_video = true) {
    backend_.run(Convert{.count = x_.count(), .x = x_.array(), .y = call.input().array()});
    call.set_timestep(0.3f);
    const auto run = [&](bool first) {
      for (int step = 0; step < steps; ++step) call.run(*conditioning_, step, first);
    };
    run(true);  // leaves the references
    return milliseconds_of(backend_, repeats, [&] { run(first_video); });
  }
  std::vector<float> prediction(VideoUNet::Call& call) {
    milliseconds(call, 1);
    return call.prediction().to_host();
  }
  void profile() {
    VideoUNet::Call call = prepare();
    milliseconds(call, 1);
    backend_.timing = true;
    VideoUNet::Call timed = prepare();
    backend_.totals.clear();
    timed.run(*conditioning_);
    backend_.timing = false;
    std::map<std::string, Profile::Total> shapes;
    for (const auto& [key, total] : backend_.totals)
      if (key.first.starts_with("feed")) shapes[key.second].add(total);
    for (const auto& [shape, total] : shapes)
      fmt::print("  feed forward {}: {} calls, {:.2f} ms, {:.0f} TFLOP/s\n", shape, total.calls,
                 total.seconds * 1e3, total.flop / total.seconds * 1e-12);
  }

 private:
  Profile& backend_;
  VideoUNet& network_;
  const VideoUNet::Call::Size size_;
  const Tensor x_;
  const std::shared_ptr<const VideoUNet::Conditioning> conditioning_;
};

void run(int64_t frames, int64_t size, const std::string& device, int repeats, const std::string& file) {
  Profile backend(make_backend(device));
  const test::TemporaryFolder folder;
  const std::filesystem::path path =
      file.empty() ? folder / "weights.safetensors" : std::filesystem::path(file);
  if (!std::filesystem::exists(path)) {
    test::Manifest manifest = test::read_manifest("sv3d_p");
    std::erase_if(manifest,
                  [](const auto& item) { return !item.first.starts_with("model.diffusion_model."); });
    write_random_weights(path, manifest);
  }
  const WeightMap weights(path);
  fmt::print("{}, 2×{}×{}×{}, f16\n", backend.name(), frames, size, size);
  std::vector<float> exact;
  for (const FeedForwardProducts products : {FeedForwardProducts::same, FeedForwardProducts::fp8}) {
    const bool fp8 = products == FeedForwardProducts::fp8;
    if (fp8 && !backend.has_fp8()) continue;
    VideoUNet network(backend, weights, "model.diffusion_model.",
                      VideoUNet::Options{.type = network_type(backend, DType::f16, products)});
    Calls calls(backend, network, frames, size);
    {
      VideoUNet::Call call = calls.prepare();
      const std::vector<float> prediction = calls.prediction(call);
      if (!fp8) exact = prediction;
      fmt::print("{}: {:.2f} ms; prediction {:.4f} from that of f16; weights {:.2f} GiB\n",
                 fp8 ? "feed-forward fp8" : "whole call", calls.milliseconds(call, repeats),
                 test::relative_error(prediction, exact), gib(network.weight_bytes()));
      std::fflush(stdout);
    }
    for (const int depth : {1, 2, 3}) {
      VideoUNet::Call call = calls.prepare({.interval = 4, .depth = depth});
      const double whole = calls.milliseconds(call, repeats), four = calls.milliseconds(call, repeats, 4);
      fmt::print("  cache of depth {}: a whole step {:.2f} ms, another {:.2f} ms; device memory {:.2f} GiB\n",
                 depth, whole, (four - whole) / 3, gib(backend.allocated_bytes()));
      std::fflush(stdout);
    }
    {
      VideoUNet::Call call = calls.prepare({.interval = 3, .depth = 1}, AttentionInjection::Options{});
      for (const bool first : {true, false})
        fmt::print("  with injection, cache 3, {} video: three steps {:.2f} ms; device memory {:.2f} GiB\n",
                   first ? "the first" : "another", calls.milliseconds(call, repeats, 3, first),
                   gib(backend.allocated_bytes()));
      std::fflush(stdout);
    }
    calls.profile();
  }
}

}  // namespace
}  // namespace eg4d::bench

int main(int argc, char** argv) {
  const auto argument = [&](int i, const char* otherwise) {
    return std::string(argc > i ? argv[i] : otherwise);
  };
  eg4d::bench::run(std::stoll(argument(1, "21")), std::stoll(argument(2, "72")), argument(3, "cuda"),
                   std::stoi(argument(4, "10")), argument(5, ""));
}
