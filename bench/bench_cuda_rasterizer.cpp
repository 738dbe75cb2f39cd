// The GPU's rasteriser on the scenes of EG4D_BENCH_DIR (scene_20k.safetensors, scene_100k.safetensors; scenes
// of that kind are generated where the files are not there, and the one of a million Gaussians always): each
// pass as CUDA events time it, enqueued kernel by kernel and as a graph; medians; and both passes on the
// processor. Arguments: repeats (0: both passes once and no table, for a profiler), and a part of the names
// of the scenes that are wanted.

#include <fmt/format.h>

#include <cstdlib>

#include "cuda/support/cuda_raster.h"
#include "cuda_measure.h"
#include "random/random.h"
#include "raster_scene.h"
#include "support/random_values.h"

namespace eg4d::bench {
namespace {

using test::CudaRaster;
using test::RasterScene;

struct Scene {
  const char* name;
  SceneSize size;
  double goal;  // milliseconds, forward and backward
};
constexpr Scene kScenes[] = {{"20k, 576²", {20000, 0.0085f, 576, 576, kSceneOf20k}, 0.35},
                             {"100k, 576²", {100000, 0.0055f, 576, 576, kSceneOf100k}, 0.6},
                             {"1M, 576²", {1000000, 0.0030f, 576, 576, nullptr}, 1.8},
                             {"1M, 1920×1080", {1000000, 0.0030f, 1920, 1080, nullptr}, 2.0}};

// Both passes on all of the processor's cores.
double processor_milliseconds(const RasterScene<float>& scene, const std::vector<float>& d_image) {
  const auto backend = make_cpu_backend();
  test::DeviceRaster kernels(*backend, scene);
  kernels.forward();
  kernels.prepare_backward(d_image);
  const auto both = [&] {
    kernels.forward();
    kernels.run_backward();
  };
  return 1e3 * median_seconds(5, both, wall_seconds);
}

std::vector<std::string> measure(Timer& timer, const Scene& which) {
  const RasterScene<float> scene = load_scene(which.size);
  CudaRaster kernels(scene);
  kernels.forward();
  kernels.use_long_lists(cuda::are_long(kernels.totals(), false));  // as the backend does
  Philox random(3);
  const std::vector<float> d_image =
      test::uniform_values<float>(random, int64_t{3} * scene.width * scene.height, -0.5f, 0.5f);
  kernels.prepare_backward(d_image);
  const auto forward = [&](cudaStream_t stream) { kernels.enqueue_forward(stream); };
  const auto backward = [&](cudaStream_t stream) { kernels.enqueue_backward(stream); };
  const auto both = [&](cudaStream_t stream) {
    forward(stream);
    backward(stream);
  };
  cuda::check(cudaDeviceSynchronize(), "preparing");
  if (timer.repeats() == 0) {  // for a profiler
    both(nullptr);
    cuda::check(cudaDeviceSynchronize(), "working");
    return {which.name};
  }
  const auto memory = cuda::rasterizer_workspace_bytes(kernels.workspace.size);
  const double forward_ms = timer.median_as_graph(forward), backward_ms = timer.median_as_graph(backward);
  const double enqueued = timer.median(both), graph = timer.median_as_graph(both);
  return {which.name,
          fmt::format("{}", kernels.counts().pairs),
          fmt::format("{}", kernels.totals().longest),
          number(forward_ms),
          number(backward_ms),
          number(enqueued),
          number(graph),
          fmt::format("≤ {}", which.goal),
          graph <= which.goal ? "yes" : "no",
          fmt::format("{:.1f}", processor_milliseconds(scene, d_image)),
          fmt::format("{:.0f}", static_cast<double>(memory.gaussians + memory.pairs) / 1e6)};
}

}  // namespace

int run(int repeats, const std::string& part) {
  if (const std::string missing = test::missing_gpu(); !missing.empty()) {
    fmt::print("{}; nothing was measured.\n", missing);
    return 0;
  }
  Timer timer(repeats);
  std::vector<std::vector<std::string>> rows;
  for (const Scene& scene : kScenes)
    if (std::string(scene.name).find(part) != std::string::npos) rows.push_back(measure(timer, scene));
  if (repeats == 0) return 0;
  fmt::print("{}, medians of {}, milliseconds; processor: {}\n\n", gpu_name(), repeats,
             make_cpu_backend()->name());
  const Table table({"scene", "pairs", "longest list", "forward", "backward", "both, enqueued", "both, graph",
                     "goal", "met", "processor", "workspace [MB]"});
  for (const auto& row : rows) table.row(row);
  return 0;
}

}  // namespace eg4d::bench

int main(int argc, char** argv) {
  try {
    return eg4d::bench::run(argc > 1 ? std::atoi(argv[1]) : 50, argc > 2 ? argv[2] : "");
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
