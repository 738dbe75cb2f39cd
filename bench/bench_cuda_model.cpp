// The GPU's rasteriser on a trained model, as its training sees it: cameras of a dataset's train split,
// evenly chosen, each at its time. How long the cells' lists are, and each pass as CUDA events time it
// (medians of graphs); forward with the lists made in either way.
//   bench_cuda_model MODEL DATASET [picture's side] [cameras] [repeats]
// 0: the pictures' own side. 0 repeats: both passes of one camera once and no table, for a profiler.

#include <fmt/format.h>

#include <cstdlib>
#include <optional>

#include "backend/cuda/cuda_backend.h"
#include "backend/forwarding_backend.h"
#include "core/error.h"
#include "cuda/support/cuda_raster.h"
#include "cuda_measure.h"
#include "pipeline/open_model.h"
#include "random/random.h"
#include "scene/dataset.h"
#include "splat/evaluation.h"
#include "support/random_values.h"

namespace eg4d::bench {
namespace {

using test::CudaRaster;
using test::RasterScene;

// Keeps what the last rasterisation was given.
class KeepingBackend final : public ForwardingBackend {
 public:
  KeepingBackend() : ForwardingBackend(cuda::make_cuda_backend(0, FieldPrecision::automatic)) {}

  void run(const Operation& operation) override {
    if (const auto* forward = std::get_if<RasterizeForward>(&operation)) last_ = *forward;
    ForwardingBackend::run(operation);
  }
  RasterScene<float> last_scene() {
    RasterScene<float> scene;
    scene.camera = copy(last_->camera, 1).front();
    scene.width = last_->width;
    scene.height = last_->height;
    scene.count = last_->count;
    scene.means = copy(last_->means, 3 * last_->count);
    scene.scales = copy(last_->scales, 3 * last_->count);
    scene.rotations = copy(last_->rotations, 4 * last_->count);
    scene.opacities = copy(last_->opacities, last_->count);
    scene.colors = copy(last_->colors, 3 * last_->count);
    return scene;
  }

 private:
  template <class Type>
  std::vector<Type> copy(const Type* device, int64_t count) {
    std::vector<Type> host(static_cast<size_t>(count));
    copy_to_host(host.data(), device, host.size() * sizeof(Type));
    return host;
  }

  std::optional<RasterizeForward> last_;
};

std::vector<uint32_t> list_lengths(const CudaRaster& kernels) {
  const int64_t cells = int64_t{(kernels.arguments.width + 7) / 8} * ((kernels.arguments.height + 3) / 4);
  std::vector<uint2> ranges(static_cast<size_t>(cells));
  cuda::check(cudaMemcpy(ranges.data(), kernels.workspace.cell_range, ranges.size() * sizeof(uint2),
                         cudaMemcpyDeviceToHost),
              "copying lists");
  std::vector<uint32_t> lengths;
  for (const uint2& range : ranges)
    if (range.y > range.x) lengths.push_back(range.y - range.x);
  return lengths;
}

std::vector<std::string> measure(Timer& timer, const std::string& name, const RasterScene<float>& scene) {
  CudaRaster kernels(scene);
  kernels.forward();
  Philox random(3);
  kernels.prepare_backward(
      test::uniform_values<float>(random, int64_t{3} * scene.width * scene.height, -0.5f, 0.5f));
  const auto forward = [&](cudaStream_t stream) { kernels.enqueue_forward(stream); };
  const auto backward = [&](cudaStream_t stream) { kernels.enqueue_backward(stream); };
  if (timer.repeats() == 0) {
    forward(nullptr);
    backward(nullptr);
    cuda::check(cudaDeviceSynchronize(), "working");
    return {};
  }
  const std::vector<uint32_t> lengths = list_lengths(kernels);
  const auto above = [&](uint32_t limit) {
    return std::ranges::count_if(lengths, [=](uint32_t length) { return length > limit; });
  };
  const double forward_ms = timer.median_as_graph(forward), backward_ms = timer.median_as_graph(backward);
  kernels.use_long_lists(true);
  const double other_ms = timer.median_as_graph(forward);
  return {name,
          fmt::format("{}", kernels.counts().pairs),
          fmt::format("{}", lengths.size()),
          fmt::format("{}", kernels.totals().longest),
          fmt::format("{}", above(256)),
          fmt::format("{}", above(1024)),
          number(forward_ms),
          number(other_ms),
          number(backward_ms)};
}

int run(const std::vector<std::string>& arguments) {
  if (const std::string missing = test::missing_gpu(); !missing.empty()) {
    fmt::print("{}; nothing was measured.\n", missing);
    return 0;
  }
  const auto value = [&](size_t at, int otherwise) {
    return arguments.size() > at ? std::atoi(arguments[at].c_str()) : otherwise;
  };
  const int side = value(2, 0), repeats = value(4, 20);
  KeepingBackend backend;
  const Model model = open_model(backend, arguments[0]);
  const Dataset dataset(arguments[1]);
  const DatasetSplit& split = dataset.read_split("train");
  const ReconstructOptions& options = model.info.options;
  const VerticalFov rule =
      options.data.swapped_fov ? VerticalFov::reference_swapped : VerticalFov::from_aspect;
  const size_t cameras = repeats == 0 ? 1 : std::clamp<size_t>(static_cast<size_t>(value(3, 16)), 1, 1000);
  Renderer renderer(backend, render_options(options));
  Timer timer(repeats);
  std::vector<std::vector<std::string>> rows;
  for (size_t i = 0; i < cameras; ++i) {
    const size_t number_of_frame = (2 * i + 1) * split.frames.size() / (2 * cameras);
    const DatasetFrame& frame = split.frames.at(number_of_frame);
    Camera camera = make_camera(frame.camera_to_world, frame.width, frame.height, frame.intrinsics, rule);
    if (side > 0) camera = camera.resized(side, std::max(1, frame.height * side / frame.width));
    const float time = static_cast<float>(std::clamp(frame.time / model.info.largest_time, 0.0, 1.0));
    renderer.deform(model.gaussians, model.active_field(), time, color_time(options, time), false);
    renderer.render(camera);
    rows.push_back(measure(timer, fmt::format("{}, {}×{}", number_of_frame, camera.width, camera.height),
                           backend.last_scene()));
  }
  if (repeats == 0) return 0;
  fmt::print("{}, {} Gaussians, medians of {}, milliseconds\n\n", gpu_name(), model.gaussians.count(),
             repeats);
  const Table table({"camera", "pairs", "lists", "longest", "above 256", "above 1024", "forward",
                     "the other way", "backward"});
  for (const auto& row : rows) table.row(row);
  return 0;
}

}  // namespace
}  // namespace eg4d::bench

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "bench_cuda_model MODEL DATASET [picture's side] [cameras] [repeats]\n");
    return 2;
  }
  try {
    return eg4d::bench::run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
