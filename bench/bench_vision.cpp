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
#include "vision/lpips.h"
#include "vision/u2net.h"

namespace eg4d {
namespace {

class RandomWeights {
 public:
  void convolution(const std::string& name, int64_t in, int64_t out, int64_t kernel, bool bias = true) {
    add(name + ".weight", {out, in, kernel, kernel},
        std::sqrt(6.0f / static_cast<float>(in * kernel * kernel)));
    if (bias) add(name + ".bias", {out}, 0.1f);
  }
  WeightMap weights;

  void tensor(const std::string& name, const Shape& shape) {
    const auto inputs = static_cast<float>(element_count(shape) / shape[0]);
    add(name, shape, shape.size() == 1 ? 0.1f : std::sqrt(6.0f / inputs));
  }

 private:
  void add(const std::string& name, Shape shape, float scale) {
    const auto values = std::make_shared<std::vector<float>>(static_cast<size_t>(element_count(shape)));
    for (float& value : *values) {
      state_ = state_ * 1664525u + 1013904223u;
      value = (static_cast<float>(state_ >> 8) * 0x1p-23f - 1) * scale;
    }
    weights.add_tensor(name, DType::f32, std::move(shape),
                       {values, reinterpret_cast<const std::byte*>(values->data())});
  }
  uint32_t state_ = 1;
};

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
  RandomWeights backbone, heads;
  struct Layer {
    int number;
    int64_t out, kernel;
    bool tap;
  };
  const std::vector<Layer> alex = {
      {0, 64, 11, true}, {3, 192, 5, true}, {6, 384, 3, true}, {8, 256, 3, true}, {10, 256, 3, true}};
  const std::vector<Layer> vgg = {
      {0, 64, 3, false},   {2, 64, 3, true},    {5, 128, 3, false},  {7, 128, 3, true},   {10, 256, 3, false},
      {12, 256, 3, false}, {14, 256, 3, true},  {17, 512, 3, false}, {19, 512, 3, false}, {21, 512, 3, true},
      {24, 512, 3, false}, {26, 512, 3, false}, {28, 512, 3, true}};
  int64_t in = 3;
  int tap = 0;
  for (const Layer& layer : network == Lpips::Network::alex ? alex : vgg) {
    backbone.convolution(fmt::format("features.{}", layer.number), in, layer.out, layer.kernel);
    in = layer.out;
    if (layer.tap) heads.convolution(fmt::format("lin{}.model.1", tap++), in, 1, 1, false);
  }
  Lpips lpips(backend, backbone.weights, heads.weights);
  const Tensor a = numbers(backend, {1, side, side, 3}, 0), b = numbers(backend, {1, side, side, 3}, 1);
  const Tensor values = Tensor::zeros(backend, {1}, DType::f64), gradient = Tensor::zeros(backend, a.shape());
  report(backend, fmt::format("LPIPS {} of {}², value", name_of(network), side),
         [&] { lpips.measure(a, b, values); });
  report(backend, fmt::format("LPIPS {} of {}², value and gradient", name_of(network), side),
         [&] { lpips.measure(a, b, values, 1, gradient); });
}

void matting(U2Net::Kind kind, int64_t side) {
  bench::TimedNetworks backend;
  RandomWeights random;
  const bool isnet = kind == U2Net::Kind::isnet;
  const int64_t heights[] = {7, 6, 5, 4, 4, 4}, outs[] = {64, 128, 256, 512, 512, 512},
                middles[] = {32, 32, 64, 128, 256, 256}, up_outs[] = {64, 64, 128, 256, 512, 512},
                up_middles[] = {16, 32, 64, 128, 256, 0};
  const auto block = [&](const std::string& name, int64_t height, int64_t in, int64_t middle, int64_t out) {
    const auto unit = [&](const std::string& part, int64_t from, int64_t to) {
      random.convolution(name + "." + part + ".conv_s1", from, to, 3);
    };
    unit("rebnconvin", in, out);
    for (int64_t i = 1; i <= height; ++i) unit(fmt::format("rebnconv{}", i), i == 1 ? out : middle, middle);
    for (int64_t i = 1; i < height; ++i)
      unit(fmt::format("rebnconv{}d", i), 2 * middle, i == 1 ? out : middle);
  };
  if (isnet) random.convolution("conv_in", 3, 64, 3);
  for (size_t i = 0; i < 6; ++i) {
    block(fmt::format("stage{}", i + 1), heights[i],
          i > 0   ? outs[i - 1]
          : isnet ? 64
                  : 3,
          middles[i], outs[i]);
    if (i < 5)
      block(fmt::format("stage{}d", i + 1), heights[i], outs[i] + up_outs[i + 1], up_middles[i], up_outs[i]);
    random.convolution(fmt::format("side{}", i + 1), up_outs[i], 1, 3);
  }
  if (!isnet) random.convolution("outconv", 6, 1, 1);
  U2Net network(backend, random.weights);
  const Tensor x = numbers(backend, {1, side, side, 3}, 0);
  report(backend, fmt::format("{} of {}²", isnet ? "IS-Net" : "U²-Net", side), [&] { network.forward(x); });
}

void depth() {
  bench::TimedNetworks backend;
  RandomWeights random;
  for (const auto& [name, shape] : test::dpt_manifest()) random.tensor(name, shape);
  DptHybrid network(backend, random.weights, {});
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
