// Rasteriser, forward and backward, against the plain scalar version in the same run.
//
// Scenes are generated; when EG4D_BENCH_DIR holds scene_20k.safetensors and scene_100k.safetensors they are
// used instead. --target=avx2 (or scalar) restricts the instruction set.

#include <fmt/format.h>
#include <hwy/targets.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "backend/cpu/rasterizer.h"
#include "core/random.h"
#include "core/threads.h"
#include "support/raster_scenes.h"

namespace eg4d::test {
namespace {

double milliseconds(auto&& body) {
  const auto begin = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

double median_of(int repetitions, auto&& body) {
  std::vector<double> times;
  for (int i = 0; i < repetitions; ++i) times.push_back(milliseconds(body));
  std::ranges::nth_element(times, times.begin() + repetitions / 2);
  return times[static_cast<size_t>(repetitions / 2)];
}

struct Times {
  double forward = 0, backward = 0;
};

Times time_kernels(DeviceRaster& kernels, const std::vector<float>& d_image, int repetitions, int threads) {
  set_thread_count(threads);
  kernels.forward();
  kernels.prepare_backward(d_image);
  kernels.run_backward();
  return {median_of(repetitions, [&] { kernels.forward(); }),
          median_of(repetitions, [&] { kernels.run_backward(); })};
}

Times time_reference(const RasterScene<float>& scene, const std::vector<float>& d_image,
                     ReferenceRasterizer<float>& reference) {
  reference.forward(scene);
  return {median_of(3, [&] { reference.forward(scene); }),
          median_of(3, [&] { reference.backward(scene, d_image); })};
}

// What the pixels need at least: evaluations that are blended, and the work per evaluation.
constexpr double kForwardFlops = 40, kBackwardFlops = 75;

struct Case {
  int64_t count;
  float median_scale;
  int size;
  const char* file;
};

RasterScene<float> load(const Case& c) {
  if (const char* folder = std::getenv("EG4D_BENCH_DIR"); folder && c.file) {
    const std::filesystem::path path = std::filesystem::path(folder) / c.file;
    if (std::filesystem::exists(path)) return scene_from_file(path, c.size, c.size);
  }
  return ball_scene(c.count, c.median_scale, c.size, c.size);
}

void run(const Case& c, int threads) {
  const RasterScene<float> scene = load(c);
  Philox random(3);
  std::vector<float> d_image(3 * static_cast<size_t>(c.size) * static_cast<size_t>(c.size));
  for (float& value : d_image) value = random.uniform() - 0.5f;
  const auto backend = make_cpu_backend();
  DeviceRaster kernels(*backend, scene);
  const int repetitions = c.count * c.size > 4000000 ? 15 : 31;
  ReferenceRasterizer<float> reference;
  const Times plain = time_reference(scene, d_image, reference);
  const Times one = time_kernels(kernels, d_image, repetitions, 1);
  const Times all = time_kernels(kernels, d_image, repetitions, threads);
  const auto& context = static_cast<const cpu::RasterizerContext&>(*kernels.context);
  int64_t blocks = 0;
  for (int64_t i = 0; i < context.pairs_in_use; ++i) blocks += std::popcount(context.touched[i]);
  const double blended = static_cast<double>(reference.blended_count());
  fmt::print(
      "{:>6} {:>4}² | {:>8} {:>8} {:>9.2f} {:>9.2f} | {:>8.1f} {:>8.1f} | {:>7.2f} {:>7.2f} | {:>5.1f}x "
      "{:>5.1f}x | {:>7.2f} {:>7.2f} | {:>6.2f} {:>6.2f}\n",
      scene.count, c.size, reference.pair_count(), context.pairs_in_use, static_cast<double>(blocks) * 16e-6,
      blended * 1e-6, plain.forward, plain.backward, one.forward, one.backward, plain.forward / one.forward,
      plain.backward / one.backward, all.forward, all.backward, one.forward * 1e6 / blended,
      one.backward * 1e6 / blended);
  std::fflush(stdout);
}

}  // namespace
}  // namespace eg4d::test

int main(int argc, char** argv) {
  using namespace eg4d;
  using namespace eg4d::test;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--target=avx2") hwy::DisableTargets(HWY_AVX3);
    if (argument == "--target=scalar") hwy::DisableTargets(HWY_AVX3 | HWY_AVX2);
  }
  const int threads = thread_count();
  for (const int64_t target : {HWY_AVX3, HWY_AVX2, HWY_NEON, HWY_SCALAR})
    if (hwy::SupportedTargets() & target) {
      fmt::print("{}, {} threads; ms are medians\n", hwy::TargetName(target), threads);
      break;
    }
  fmt::print(
      "     N size |    pairs    walked  lanes M  blended M | plain f  plain b |  f 1th   b 1th |   ratio "
      "f/b   |   f all   b all | ns/blended\n");
  const Case cases[] = {{2000, 0.02f, 192, nullptr},
                        {20000, 0.0085f, 192, "scene_20k.safetensors"},
                        {20000, 0.0085f, 576, "scene_20k.safetensors"},
                        {100000, 0.0055f, 192, "scene_100k.safetensors"},
                        {100000, 0.0055f, 576, "scene_100k.safetensors"}};
  for (const Case& c : cases) run(c, threads);
}
