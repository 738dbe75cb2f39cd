// Where the time of one fine training iteration goes on a GPU: the whole iteration as the program makes it,
// beside the sum of its operations, each measured alone as a graph that holds it many times; what is left is
// gaps between graphs and the host.
//   bench_cuda_training [preset] [Gaussians] [picture's side] [iterations] [--precision f32|tf32|bf16]
//   [key=value …]

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "backend/cuda/cuda_backend.h"
#include "backend/forwarding_backend.h"
#include "core/config.h"
#include "core/error.h"
#include "cuda/support/device.h"
#include "measure.h"
#include "pipeline/presets.h"
#include "pipeline/views.h"
#include "splat/start_points.h"
#include "splat/trainer.h"
#include "support/places.h"

namespace eg4d::bench {
namespace {

constexpr int kTogether = 10;  // times that a graph holds an operation
constexpr int kWarmUp = 30;    // iterations: graphs are made, and the rasteriser's memory has its size

using Operations = std::vector<Operation>;

// Also keeps the operations of recordings: the last with a rasterisation and the last without.
class NotingBackend final : public ForwardingBackend {
 public:
  explicit NotingBackend(FieldPrecision precision)
      : ForwardingBackend(cuda::make_cuda_backend(0, precision)) {}

  void run(const Operation& operation) override {
    noted_.push_back(operation);
    ForwardingBackend::run(operation);
  }
  std::unique_ptr<Recording> record(const std::function<void()>& work) override {
    noted_.clear();
    auto recording = ForwardingBackend::record(work);
    (holds<RasterizeForward>(noted_) ? gradients_ : update_) = noted_;
    return recording;
  }
  Operations iteration() const {
    Operations all = gradients_;
    all.insert(all.end(), update_.begin(), update_.end());
    return all;
  }

 private:
  template <class Type>
  static bool holds(const Operations& operations) {
    return std::ranges::any_of(operations,
                               [](const Operation& a) { return std::holds_alternative<Type>(a); });
  }

  Operations noted_, gradients_, update_;
};

// The dataset's pictures, enlarged.
void enlarge(Backend& backend, const DatasetSplit& split, const ReconstructOptions& options, int side,
             TrainingViews& views) {
  const VerticalFov rule =
      options.data.swapped_fov ? VerticalFov::reference_swapped : VerticalFov::from_aspect;
  std::vector<uint8_t> large(size_t{3} * static_cast<size_t>(side) * static_cast<size_t>(side));
  for (size_t i = 0; i < views.size(); ++i) {
    TrainingView& view = views[i];
    const std::vector<uint8_t> small = view.picture.to_host<uint8_t>();
    const int width = view.camera.width, height = view.camera.height;
    for (int64_t at = 0, y = 0; y < side; ++y)
      for (int64_t x = 0; x < side; ++x)
        for (int64_t channel = 0; channel < 3; ++channel)
          large[static_cast<size_t>(at++)] =
              small[static_cast<size_t>((y * height / side * width + x * width / side) * 3 + channel)];
    const DatasetFrame& frame = split.frames[i];
    view.camera = make_camera(frame.camera_to_world, side, side, frame.intrinsics, rule);
    view.picture = Tensor::from_host<uint8_t>(backend, {side, side, 3}, large);
  }
}

// Full pictures, all SH coefficients, statistics for a density control that never comes.
void make_uniform(ReconstructOptions& options) {
  options.start.points = StartPoints::silhouette;
  options.schedule.coarse_iterations = 0;
  options.schedule.fine_iterations = 1000000;
  options.schedule.random_resolution = false;
  options.schedule.average_from = -1;
  options.gaussian.sh_interval = 1;
  options.density.from = options.density.until = 1000000;
  options.density.reset_interval = 0;
}

class Measure {
 public:
  explicit Measure(Backend& backend) : backend_(backend), scratch_(Tensor::zeros(backend, {1})) {}

  void wait() const { scratch_.to_host<float>(); }
  // Seconds of operations behind one another, once.
  double seconds(const Operations& operations) const {
    const FillBytes between{scratch_.raw(), 0, sizeof(float)};  // or neighbouring steps of Adam would be one
    const auto recording = backend_.record([&] {
      for (int i = 0; i < kTogether; ++i) {
        for (const Operation& operation : operations) backend_.run(operation);
        if (std::holds_alternative<Adam>(operations.front())) backend_.run(between);
      }
    });
    const double all = median_seconds(
        7,
        [&] {
          backend_.replay(*recording);
          wait();
        },
        wall_seconds);
    return all / kTogether;
  }

 private:
  Backend& backend_;
  Tensor scratch_;
};

std::string name_of_all(const Operations& operations) {
  const std::string name = name_of(operations.front());
  return operations.size() == 1 ? name : fmt::format("{} ×{}", name, operations.size());
}

// Operations of one kind behind one another count as one. Returns the sum of seconds.
double print_operations(Backend& backend, const Operations& iteration) {
  const Measure measure(backend);
  const Table table({"operation", "ms"});
  double sum = 0;
  for (size_t i = 0; i < iteration.size();) {
    size_t end = i + 1;
    while (end < iteration.size() && iteration[end].index() == iteration[i].index()) ++end;
    const Operations same(iteration.begin() + static_cast<long>(i),
                          iteration.begin() + static_cast<long>(end));
    i = end;
    if (std::holds_alternative<NextInputs>(same.front())) continue;  // there are only so many
    const double seconds = measure.seconds(same);
    sum += seconds;
    table.row({name_of_all(same), fmt::format("{:.3f}", seconds * 1e3)});
  }
  return sum;
}

FieldPrecision precision_of(const std::string& name) {
  for (const FieldPrecision each : {FieldPrecision::f32, FieldPrecision::tf32, FieldPrecision::bf16})
    if (name == name_of(each)) return each;
  throw Error("--precision is f32, tf32 or bf16");
}

// Takes --precision and its value out of the arguments.
FieldPrecision take_precision(std::vector<std::string>& arguments) {
  const auto at = std::ranges::find(arguments, "--precision");
  if (at == arguments.end()) return FieldPrecision::automatic;
  const FieldPrecision precision = precision_of(at + 1 == arguments.end() ? "" : at[1]);
  arguments.erase(at, at + 2);
  return precision;
}

int run(std::vector<std::string> arguments) {
  if (const std::string missing = test::missing_gpu(); !missing.empty()) {
    fmt::print("{}; nothing was measured.\n", missing);
    return 0;
  }
  const FieldPrecision precision = take_precision(arguments);
  const auto number = [&](size_t at, int otherwise) {
    return arguments.size() > at ? std::atoi(arguments[at].c_str()) : otherwise;
  };
  ReconstructOptions options;
  ConfigSchema schema;
  options.bind(schema);
  const std::string preset = arguments.empty() ? "paper" : arguments[0];
  schema.apply_preset(preset, reconstruct_presets());
  make_uniform(options);
  options.start.count = number(1, 40000);
  const int side = number(2, 576), iterations = number(3, 200);
  for (size_t i = 4; i < arguments.size(); ++i) {
    const size_t equals = arguments[i].find('=');
    if (equals == std::string::npos) throw Error(arguments[i] + " is no key=value");
    schema.set(arguments[i].substr(0, equals), arguments[i].substr(equals + 1), "the command line");
  }

  NotingBackend backend(precision);
  const Dataset dataset(test::examples() / "robot-192");
  const DatasetSplit split = dataset.read_split("train");
  TrainingViews views = load_views(backend, dataset, split, options, dataset.largest_time());
  Philox random(1);
  const PointCloud start = silhouette_points(views, options, random);
  enlarge(backend, split, options, side, views);
  std::vector<Camera> cameras;
  for (const TrainingView& view : views) cameras.push_back(view.camera);
  Trainer trainer(backend, options, views, start, cameras_extent(cameras));

  for (int i = 0; i < kWarmUp; ++i) trainer.step();
  trainer.last_loss();
  double enqueued = 0;
  const double begin = wall_seconds();
  for (int i = 0; i < iterations; ++i) trainer.step();
  enqueued = wall_seconds() - begin;
  trainer.last_loss();
  const double whole = (wall_seconds() - begin) / iterations;
  fmt::print("{}: preset {}, {} Gaussians, {} picture(s) of {}×{} per iteration, {} iterations\n\n",
             backend.name(), preset, trainer.gaussian_count(), options.schedule.views, side, side,
             iterations);
  const double sum = print_operations(backend, backend.iteration());
  fmt::print("\nall operations {:.3f} ms, whole iteration {:.3f} ms (the host was busy with it for {:.3f})\n",
             sum * 1e3, whole * 1e3, enqueued / iterations * 1e3);
  return 0;
}

}  // namespace
}  // namespace eg4d::bench

int main(int argc, char** argv) {
  try {
    return eg4d::bench::run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
