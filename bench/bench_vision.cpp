// LPIPS, matting, alpha matting and depth maps at the sizes in which refinement uses them, with random
// weights of the published shapes: time, share of each kind of operation, and how fast convolutions run.
//
//   bench_vision [side of the pictures = 576] [isnet]

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>

#include "picture/alpha_matting.h"
#include "support/dpt_manifest.h"
#include "timed_networks.h"
#include "vision/dpt.h"
#include "vision_manifests.h"

namespace eg4d {
namespace {

WeightMap random_weights(const test::Manifest& manifest) {
  WeightMap weights;
  uint32_t state = 1;
  for (const auto& [name, shape] : manifest) {
    const int64_t count = element_count(shape);
    const float scale = shape.size() == 1 ? 0.1f : std::sqrt(6.0f / static_cast<float>(count / shape[0]));
    const auto values = std::make_shared<std::vector<float>>(static_cast<size_t>(count));
    for (float& value : *values) {
      state = state * 1664525u + 1013904223u;
      value = (static_cast<float>(state >> 8) * 0x1p-23f - 1) * scale;
    }
    weights.add_tensor(name, DType::f32, shape, {values, reinterpret_cast<const std::byte*>(values->data())});
  }
  return weights;
}

Tensor numbers(Backend& backend, Shape shape, float phase) {
  std::vector<float> values(static_cast<size_t>(element_count(shape)));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = 0.5f + 0.5f * std::sin(static_cast<float>(i % 10007) * 1.7f + phase);
  return Tensor::from_host<float>(backend, std::move(shape), values);
}

// One call after one that warms up.
template <class Body>
void report(bench::TimedNetworks& backend, const std::string& what, const Body& body) {
  body();
  backend.totals.clear();
  const double start = bench::wall_seconds();
  body();
  const double seconds = bench::wall_seconds() - start;
  fmt::print("{}: {:.1f} ms, device memory {:.0f} MiB at most\n", what, seconds * 1e3,
             static_cast<double>(backend.peak_allocated_bytes()) / (1 << 20));
  for (const auto& [kind, total] : backend.totals) {
    fmt::print("  {:<26} {:4} calls {:9.1f} ms {:5.1f} %", kind, total.calls, total.seconds * 1e3,
               100 * total.seconds / seconds);
    if (total.flop > 0)
      fmt::print("  {:7.1f} GFLOP {:7.1f} GFLOP/s", total.flop / 1e9, total.flop / total.seconds / 1e9);
    fmt::print("\n");
  }
  std::fflush(stdout);
}

void lpips(Lpips::Network network, int64_t side) {
  bench::TimedNetworks backend;
  Lpips lpips(backend, random_weights(bench::lpips_backbone(network)),
              random_weights(bench::lpips_heads(network)));
  const Tensor a = numbers(backend, {1, side, side, 3}, 0), b = numbers(backend, {1, side, side, 3}, 1);
  const Tensor values = Tensor::zeros(backend, {1}, DType::f64), gradient = Tensor::zeros(backend, a.shape());
  report(backend, fmt::format("LPIPS {} of {}², value", name_of(network), side),
         [&] { lpips.measure(a, b, values); });
  report(backend, fmt::format("LPIPS {} of {}², value and gradient", name_of(network), side),
         [&] { lpips.measure(a, b, values, 1, gradient); });
}

void matting(U2Net::Kind kind, int64_t side) {
  bench::TimedNetworks backend;
  U2Net network(backend, random_weights(bench::u2net(kind)));
  const Tensor x = numbers(backend, {1, side, side, 3}, 0);
  report(backend, fmt::format("{} of {}²", kind == U2Net::Kind::isnet ? "IS-Net" : "U²-Net", side),
         [&] { network.forward(x); });
}

void depth() {
  bench::TimedNetworks backend;
  DptHybrid network(backend, random_weights(test::dpt_manifest()), {});
  const int64_t side = network.picture_size();
  const Tensor x = numbers(backend, {1, side, side, 3}, 0);
  report(backend, fmt::format("DPT-Hybrid of {}²", side), [&] { network.forward(x); });
}

void alpha(int side) {
  Picture rgb(side, side, 3), matte(side, side, 1);
  for (int y = 0; y < side; ++y)
    for (int x = 0; x < side; ++x) {
      const auto i = static_cast<size_t>(y * side + x);
      const bool inside = std::hypot(x - side / 2, y - side / 2) < side * 0.35;
      matte.data[i] = inside ? 255 : 0;
      for (size_t c = 0; c < 3; ++c)
        rgb.data[3 * i + c] =
            static_cast<uint8_t>((inside ? 160 : 60) + 40 * std::sin(x * 0.1 + y * 0.07 + c));
    }
  double start = bench::wall_seconds();
  const auto trimap = make_trimap(matte, {});
  const auto solved = closed_form_alpha(rgb, trimap);
  const double alpha_seconds = bench::wall_seconds() - start;
  start = bench::wall_seconds();
  estimate_foreground(rgb, solved);
  fmt::print("alpha matting of {}²: alpha {:.1f} ms, foreground {:.1f} ms\n", side, alpha_seconds * 1e3,
             (bench::wall_seconds() - start) * 1e3);
}

}  // namespace
}  // namespace eg4d

int main(int argc, char** argv) {
  using namespace eg4d;
  const int64_t side = argc > 1 ? std::atoll(argv[1]) : 576;
  lpips(Lpips::Network::alex, side);
  lpips(Lpips::Network::vgg, side);
  matting(U2Net::Kind::u2net, 320);
  if (argc > 2 && std::string(argv[2]) == "isnet") matting(U2Net::Kind::isnet, 1024);
  alpha(static_cast<int>(side));
  depth();
}
