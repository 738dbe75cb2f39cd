// Frames a second of a moving object: deformed and drawn, and with deformations that were worked out ahead
// (baked); with and without reading the pictures back as 8 bits. A model of the published size, untrained:
// silhouette points of robot-192, at all times of which it is drawn from its training cameras.
//   bench_render [DEVICE] [GAUSSIANS] [SIZE] [SECONDS]     cuda 40000 576 2

#include <fmt/format.h>

#include <cstdlib>
#include <functional>

#include "backend/backend.h"
#include "measure.h"
#include "pipeline/views.h"
#include "splat/evaluation.h"
#include "splat/playback.h"
#include "splat/start_points.h"
#include "support/places.h"

namespace eg4d::bench {
namespace {

constexpr int kTimes = 25;

struct Scene {
  ReconstructOptions options;
  Gaussians gaussians;
  DeformationField field;
};

Scene make_scene(Backend& backend, int count) {
  Scene scene;
  ReconstructOptions& options = scene.options;
  options.start.count = count;
  options.start.opacity = 0.9f;
  options.deformation.color_time = ColorTime::own;
  options.deformation.zero_start =
      true;  // stands still: the work is the same, and the picture that of an object
  const Dataset dataset(test::examples() / "robot-192");
  const TrainingViews views =
      load_views(backend, dataset, dataset.read_split("train"), options, dataset.largest_time());
  Philox random(1);
  const PointCloud points = silhouette_points(views, options, random);
  scene.gaussians = gaussians_from_points(backend, points, options.start.opacity, options.start.scale);
  scene.gaussians.active_sh_degree = options.gaussian.sh_degree;
  scene.field = DeformationField(backend, options);
  scene.field.initialize(points.positions, random);
  return scene;
}

// Camera `number` of a walk around the object.
Camera camera_of(int number, int size) {
  Intrinsics intrinsics;
  intrinsics.fov_x = kOrbitFovX;
  return make_camera(orbit_camera_to_world(number * 7.0, 10, kOrbitRadius), size, size, intrinsics);
}

class Benchmark {
 public:
  Benchmark(Backend& backend, int count, int size, double seconds)
      : backend_(backend), size_(size), seconds_(seconds), scene_(make_scene(backend, count)) {
    Renderer rows_of(backend, render_options(scene_.options));
    for (int i = 0; i < kRows; ++i) {
      const float time = time_of(i);
      inputs_.push_back(rows_of.inputs(camera_of(i, size), &scene_.field, time, time));
    }
    rows_ = InputRows(backend, inputs_);
    bytes_ = Tensor::empty(backend, {size, size, 3}, DType::u8);
  }

  void run() {
    fmt::print("{}: {} Gaussians, {}×{}, {} times\n\n", backend_.name(), scene_.gaussians.count(), size_,
               size_, kTimes);
    const Table table({"frames", "frames/s", "ms"});
    Playback moving(backend_, scene_.gaussians, &scene_.field, scene_.options, 0);
    Playback baked(backend_, scene_.gaussians, &scene_.field, scene_.options);
    const double begin = wall_seconds();
    for (int i = 0; i < kTimes; ++i) baked.turn_to(time_of(i), true);
    wait();
    const double baking = wall_seconds() - begin;
    const auto row = [&](const char* name, const std::function<void(int)>& frame) {
      const double each = seconds_per_frame(frame);
      table.row({name, fmt::format("{:.0f}", 1 / each), milliseconds(each)});
    };
    row("deformed, drawn", [&](int i) { deformed(moving.renderer(), i); });
    row("deformed, drawn, read back", [&](int i) {
      deformed(moving.renderer(), i);
      read_back(moving.renderer().last_image());
    });
    row("baked, drawn", [&](int i) { show(baked, i); });
    row("baked, drawn, read back", [&](int i) {
      show(baked, i);
      read_back(baked.renderer().last_image());
    });
    fmt::print("\nbaking {} times: {:.1f} ms, {:.0f} MB\n", kTimes, 1e3 * baking,
               static_cast<double>(kTimes * scene_.gaussians.count()) * 60e-6);
  }

 private:
  static constexpr int kRows = 1000;  // frames with inputs of their own; then they come again

  static float time_of(int frame) { return static_cast<float>(frame % kTimes) / (kTimes - 1); }
  // All inputs are on the device: frames follow one another without a copy from here.
  void deformed(Renderer& renderer, int frame) {
    const IterationInputs* row = rows_[frame % kRows];
    renderer.deform(scene_.gaussians, &scene_.field, row, false, false);
    renderer.render(size_, size_, row);
  }
  void show(Playback& playback, int frame) {
    playback.turn_to(time_of(frame), true);
    playback.render(size_, size_, rows_[frame % kRows]);
  }
  void read_back(const Tensor& image) {
    backend_.run(UnitToBytes{image.data(), bytes_.data<uint8_t>(), image.count()});
    host_.resize(bytes_.bytes());
    backend_.copy_to_host(host_.data(), bytes_.raw(), bytes_.bytes());
  }
  void wait() { bytes_.part(0, {1}).to_host<uint8_t>(); }

  double seconds_per_frame(const std::function<void(int)>& frame) {
    const auto make = [&](int count) {
      const double begin = wall_seconds();
      for (int i = 0; i < count; ++i) frame(i);
      wait();
      return (wall_seconds() - begin) / count;
    };
    make(3);
    const double guess = make(10);
    return make(std::max(10, static_cast<int>(seconds_ / guess)));
  }

  Backend& backend_;
  const int size_;
  const double seconds_;
  const Scene scene_;
  std::vector<IterationInputs> inputs_;
  InputRows rows_;
  Tensor bytes_;
  std::vector<uint8_t> host_;
};

}  // namespace
}  // namespace eg4d::bench

int main(int argc, char** argv) {
  const auto backend = eg4d::make_backend(argc > 1 ? argv[1] : "auto");
  const int count = argc > 2 ? std::atoi(argv[2]) : 40000, size = argc > 3 ? std::atoi(argv[3]) : 576;
  eg4d::bench::Benchmark(*backend, count, size, argc > 4 ? std::atof(argv[4]) : 2).run();
  return 0;
}
