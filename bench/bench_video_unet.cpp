// One forward pass of the full-size video UNet (both guidance halves): time, share of each kind of layer,
// memory.
//
//   bench_video_unet [frames = 21] [latent size = 72] [f32 | bf16] [checkpoint]
//
// Without a checkpoint, random f16 weights in the shapes of sv3d_p are written to a temporary file first (3
// GB).

#include <fmt/format.h>
#include <sys/resource.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>

#include "core/half.h"
#include "diffusion/video_unet.h"
#include "forwarding_backend.h"
#include "support/manifest.h"
#include "support/temporary_folder.h"

namespace eg4d {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Adds up the time of every kind of operation.
class TimedOps final : public NeuralOps {
 public:
  explicit TimedOps(NeuralOps& inner) : inner_(inner) {}
  struct Total {
    int calls = 0;
    double seconds = 0;
  };
  std::map<std::string, Total> totals;

  std::shared_ptr<const PackedWeight> pack_linear(const LinearWeight& a) override {
    return inner_.pack_linear(a);
  }
  std::shared_ptr<const PackedWeight> pack_convolution(const ConvolutionWeight& a) override {
    return inner_.pack_convolution(a);
  }
  void linear(const Linear& a, Stream s) override {
    time("linear", [&] { inner_.linear(a, s); });
  }
  void convolution(const Convolution& a, Stream s) override {
    time("convolution", [&] { inner_.convolution(a, s); });
  }
  void group_norm(const GroupNorm& a, Stream s) override {
    time("group norm", [&] { inner_.group_norm(a, s); });
  }
  void layer_norm(const LayerNorm& a, Stream s) override {
    time("layer norm", [&] { inner_.layer_norm(a, s); });
  }
  void attention(const Attention& a, Stream s) override {
    time(a.inner > 1 ? "attention over frames" : "attention over pixels", [&] { inner_.attention(a, s); });
  }
  void geglu(const Geglu& a, Stream s) override {
    time("GEGLU", [&] { inner_.geglu(a, s); });
  }
  void scaled_sum(const ScaledSum& a, Stream s) override {
    time("blend", [&] { inner_.scaled_sum(a, s); });
  }
  void activate(const Activate& a, Stream s) override {
    time("activation", [&] { inner_.activate(a, s); });
  }
  void upsample(const Upsample& a, Stream s) override {
    time("upsample", [&] { inner_.upsample(a, s); });
  }
  void patches(const Patches& a, Stream s) override {
    time("patches", [&] { inner_.patches(a, s); });
  }
  void copy_rows(const CopyRows& a, Stream s) override {
    time("copy", [&] { inner_.copy_rows(a, s); });
  }

 private:
  template <class Body>
  void time(const char* kind, Body&& body) {
    const auto start = Clock::now();
    body();
    Total& total = totals[kind];
    ++total.calls;
    total.seconds += seconds_since(start);
  }
  NeuralOps& inner_;
};

class TimedNetworks final : public bench::ForwardingBackend {
 public:
  NeuralOps& neural() override { return timed; }
  TimedOps timed{inner().neural()};
};

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
  TimedNetworks backend;
  auto start = Clock::now();
  std::unique_ptr<VideoUNet> network;
  {
    const WeightMap weights(checkpoint);
    network = std::make_unique<VideoUNet>(backend, weights, "model.diffusion_model.",
                                          VideoUNet::Options{.precision = precision});
  }
  fmt::print("{}; weights in {:.1f} s, {:.2f} GiB packed; resident {:.2f} GiB\n", backend.name(),
             seconds_since(start), gib(network->weight_bytes()), peak_resident_gib());
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
  start = Clock::now();
  const float step = 0.3f;
  const std::vector<float> y = network->forward(x, {&step, 1}, *conditioning).to_host();
  const double seconds = seconds_since(start);
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
