// The full-size video UNet on a device (both guidance halves): milliseconds of a prepared call, with and
// without attention injection, and of every operation in it, one at a time, by shape.
//
//   bench_device_unet [frames = 21] [latent size = 72] [f16 | bf16 | f32] [device = cuda] [repeats = 10]
//   [weights]
//
// Weights are random, of sv3d_p's shapes and of a scale that keeps activations near one; written to the file
// of that name where it is not there, to a temporary one without a name.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "backend/operation_cost.h"
#include "diffusion/video_unet.h"
#include "nn/network_type.h"
#include "support/temporary_folder.h"
#include "unet_benchmark.h"

namespace eg4d::bench {
namespace {

// Times operations one by one when asked to; otherwise what is recorded is the device's own recording.
class Profile final : public ObservingBackend {
 public:
  using ObservingBackend::ObservingBackend;
  struct Total {
    int64_t calls = 0;
    double seconds = 0, flop = 0, bytes = 0;
    void add(const Total& other) {
      calls += other.calls;
      seconds += other.seconds;
      flop += other.flop;
      bytes += other.bytes;
    }
  };
  bool timing = false;
  std::map<std::pair<std::string, std::string>, Total> totals;  // by kind and shape

  std::unique_ptr<Recording> record(const std::function<void()>& work) override {
    return timing ? ObservingBackend::record(work) : inner().record(work);
  }
  void replay(const Recording& recording) override {
    timing ? ObservingBackend::replay(recording) : inner().replay(recording);
  }
  void wait() { inner().copy_to_host(nullptr, nullptr, 0); }

 private:
  void perform(const Operation& operation) override {
    ObservingBackend::perform(operation);
    if (!timing) return;
    // What it finds out the first time is no part of it; and the last of several is not waited for alone.
    constexpr int kRepeats = 4;
    wait();
    const double start = wall_seconds();
    for (int i = 0; i < kRepeats; ++i) ObservingBackend::perform(operation);
    wait();
    const double seconds = (wall_seconds() - start) / kRepeats;
    const OperationCost cost = cost_of(operation);
    std::string kind = name_of(operation);
    if (const auto* a = std::get_if<Attention>(&operation))
      kind += a->inner > 1 ? " over frames" : " over pixels";
    totals[{kind, cost.shape}].add({1, seconds, cost.flop, cost.bytes});
  }
};

void print(const std::string& title, const std::vector<std::pair<std::string, Profile::Total>>& rows) {
  const Table table({title, "calls", "ms", "TFLOP/s", "TB/s", "us each"});
  for (const auto& [name, total] : rows)
    table.row({name, fmt::format("{}", total.calls), fmt::format("{:.2f}", total.seconds * 1e3),
               fmt::format("{:.0f}", total.flop / total.seconds * 1e-12),
               fmt::format("{:.2f}", total.bytes / total.seconds * 1e-12),
               fmt::format("{:.0f}", total.seconds * 1e6 / static_cast<double>(total.calls))});
  fmt::print("\n");
}

void print_totals(const Profile& profile) {
  std::map<std::string, Profile::Total> kinds;
  Profile::Total all;
  std::vector<std::pair<std::string, Profile::Total>> rows;
  for (const auto& [key, total] : profile.totals) {
    kinds[key.first].add(total);
    all.add(total);
    rows.emplace_back(key.first + " " + key.second, total);
  }
  const auto longest_first = [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; };
  std::ranges::sort(rows, longest_first);
  std::vector<std::pair<std::string, Profile::Total>> sums(kinds.begin(), kinds.end());
  std::ranges::sort(sums, longest_first);
  sums.emplace_back("all, one by one", all);
  print("kind", sums);
  rows.resize(std::min<size_t>(rows.size(), 48));
  print("operation", rows);
}

DType type_of(const std::string& name) {
  return name == "f16" ? DType::f16 : name == "bf16" ? DType::bf16 : DType::f32;
}

// Milliseconds of a call, median of several.
double milliseconds_of(Profile& backend, int repeats, const std::function<void()>& run) {
  for (int i = 0; i < 3; ++i) run();  // records, then makes a graph of it
  return 1e3 * median_seconds(
                   repeats,
                   [&] {
                     run();
                     backend.wait();
                   },
                   wall_seconds);
}

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
