// The rasteriser and the SH colour on one thread against the plain scalar versions, on all threads, and
// against the floor: what the pixels that are blended and the Gaussians take at least.
//
// Scenes are generated; when EG4D_BENCH_DIR holds scene_20k.safetensors and scene_100k.safetensors they are
// read from there. Argument: the instruction set (SCALAR, AVX2, AVX3, NEON), otherwise the best.

#include <fmt/format.h>

#include <bit>
#include <string_view>

#include "backend/cpu/rasterizer.h"
#include "random/random.h"
#include "raster_scene.h"
#include "report.h"
#include "support/instruction_sets.h"
#include "support/random_values.h"
#include "support/reference_sh_color.h"

namespace eg4d::bench {
namespace {

using test::DeviceRaster;
using test::RasterScene;
using test::ReferenceRasterizer;

// Floating-point operations per blended pixel of a Gaussian and per Gaussian, and the Gaussian's parameters.
constexpr double kPixelForward = 38, kPixelBackward = 60, kGaussianForward = 250, kGaussianBackward = 450;
constexpr double kParameterBytes = 4 * (3 + 3 + 4 + 1 + 3);

std::vector<float> uniform(size_t count) {
  Philox random(3);
  return test::uniform_values<float>(random, static_cast<int64_t>(count), -0.5f, 0.5f);
}

// Returns a row of counts.
std::vector<std::string> rasterizer(Backend& backend, const Report& report, const SceneSize& size) {
  const RasterScene<float> scene = load_scene(size);
  const size_t pixels = static_cast<size_t>(size.width) * static_cast<size_t>(size.height);
  const std::vector<float> d_image = uniform(3 * pixels);
  const std::string name = fmt::format("{}k, {}²", scene.count / 1000, size.width);
  DeviceRaster kernels(backend, scene);
  kernels.forward();
  kernels.prepare_backward(d_image);
  ReferenceRasterizer<float> plain;
  plain.forward(scene);
  const double blended = static_cast<double>(plain.blended_count()),
               gaussians = static_cast<double>(scene.count);

  Work forward{.name = "forward, " + name};
  forward.flops = blended * kPixelForward + gaussians * kGaussianForward;
  forward.bytes = gaussians * kParameterBytes + 12.0 * static_cast<double>(pixels);
  forward.plain_seconds = median_seconds(3, [&] { plain.forward(scene); });
  report.measure(
      forward, [&] { kernels.forward(); }, 25);
  Work backward{.name = "backward, " + name};
  backward.flops = blended * kPixelBackward + gaussians * kGaussianBackward;
  backward.bytes = 3 * gaussians * kParameterBytes + 12.0 * static_cast<double>(pixels);
  backward.plain_seconds = median_seconds(3, [&] { plain.backward(scene, d_image); });
  report.measure(
      backward, [&] { kernels.run_backward(); }, 25);

  const auto& context = static_cast<const cpu::RasterizerContext&>(*kernels.context);
  int64_t blocks = 0;
  for (int64_t pair = 0; pair < context.pairs_in_use; ++pair) blocks += std::popcount(context.touched[pair]);
  const auto millions = [](double count) { return fmt::format("{:.2f}", count * 1e-6); };
  return {name,
          fmt::format("{}", plain.pair_count()),
          fmt::format("{}", context.pairs_in_use),
          millions(static_cast<double>(plain.pair_count()) * cpu::kTilePixels),
          millions(static_cast<double>(blocks) * cpu::kBlockPixels),
          millions(blended)};
}

void sh_color(Backend& backend, const Report& report, int64_t count) {
  const size_t n = static_cast<size_t>(count);
  test::ShScene<float> scene{count,         3, {0, 0, -4}, uniform(3 * n), uniform(3 * n), uniform(45 * n),
                             uniform(4 * n)};
  const std::vector<float> d_colors = uniform(3 * n);
  const auto upload = [&](const std::vector<float>& values) {
    return Tensor::from_host(backend, {static_cast<int64_t>(values.size())}, values);
  };
  const Tensor inputs[] = {upload(scene.positions), upload(scene.sh_dc), upload(scene.sh_rest),
                           upload(scene.gain_bias), upload(d_colors),    upload({0, 0, -4})};
  const Tensor colors = Tensor::empty(backend, {3 * count}),
               d_positions = Tensor::zeros(backend, {3 * count}), d_dc = Tensor::zeros(backend, {3 * count}),
               d_rest = Tensor::zeros(backend, {45 * count}),
               d_gain_bias = Tensor::zeros(backend, {4 * count});
  ShColor color;
  color.count = count;
  color.degree = 3;
  color.camera_center = inputs[5].data();
  color.positions = inputs[0].data();
  color.sh_dc = inputs[1].data();
  color.sh_rest = inputs[2].data();
  color.gain_bias = inputs[3].data();
  color.colors = colors.data();
  ShColorBackward color_backward;
  color_backward.forward = color;
  color_backward.d_colors = inputs[4].data();
  color_backward.d_positions = d_positions.data();
  color_backward.d_sh_dc = d_dc.data();
  color_backward.d_sh_rest = d_rest.data();
  color_backward.d_gain_bias = d_gain_bias.data();
  const double gaussians = static_cast<double>(count);
  Work forward{.name = fmt::format("SH colour forward, {}k", count / 1000)};
  forward.flops = gaussians * 170;
  forward.bytes = gaussians * 4 * (3 + 48 + 4 + 3);
  forward.plain_seconds = median_seconds(3, [&] { test::reference_sh_color(scene); });
  report.measure(
      forward, [&] { backend.run(color); }, 25);
  Work backward{.name = fmt::format("SH colour backward, {}k", count / 1000)};
  backward.flops = gaussians * 500;
  backward.bytes = gaussians * 4 * (3 + 48 + 4 + 3 + 3 + 2 * (3 + 48 + 4));
  const std::vector<float> plain_colors = test::reference_sh_color(scene);
  backward.plain_seconds =
      median_seconds(3, [&] { test::reference_sh_color_backward(scene, plain_colors, d_colors); });
  report.measure(
      backward, [&] { backend.run(color_backward); }, 25);
}

}  // namespace

void run(const std::string& instruction_set) {
  const Machine machine = measure_machine();
  const auto backend = make_cpu_backend();
  fmt::print("{}, {}; one thread: {:.1f} GB/s, {:.0f} GFLOP/s\n\n", instruction_set, backend->name(),
             machine.bytes_per_second / 1e9, machine.flops_per_second / 1e9);
  const SceneSize scenes[] = {{2000, 0.02f, 192, 192, nullptr},
                              {20000, 0.0085f, 192, 192, kSceneOf20k},
                              {20000, 0.0085f, 576, 576, kSceneOf20k},
                              {100000, 0.0055f, 192, 192, kSceneOf100k},
                              {100000, 0.0055f, 576, 576, kSceneOf100k}};
  const Report report(machine);
  std::vector<std::vector<std::string>> counts;
  for (const SceneSize& scene : scenes) counts.push_back(rasterizer(*backend, report, scene));
  for (const int64_t count : {20000, 100000}) sh_color(*backend, report, count);
  fmt::print("\n");
  const Table table({"scene", "pairs by definition", "pairs walked", "pixels of the pairs [M]",
                     "pixels evaluated [M]", "pixels blended [M]"});
  for (const auto& row : counts) table.row(row);
}

}  // namespace eg4d::bench

int main(int argc, char** argv) {
  int64_t chosen = eg4d::test::instruction_sets().back();
  for (const int64_t target : eg4d::test::instruction_sets())
    if (argc > 1 && std::string_view(argv[1]) == hwy::TargetName(target)) chosen = target;
  const eg4d::test::UseInstructionSet use(chosen);
  eg4d::bench::run(hwy::TargetName(chosen));
}
