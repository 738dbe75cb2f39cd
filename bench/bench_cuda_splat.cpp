// The GPU's kernels besides the rasteriser, as CUDA events time graphs of them, against the floor: the bytes
// that each must move at the speed of a large copy on the same card. Arguments: repeats (0: a few runs of
// each, for a profiler), and which: how their names begin.

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "backend/cuda/splat_kernels.h"
#include "cuda/support/description_alone.h"
#include "cuda/support/device.h"
#include "cuda_measure.h"
#include "random/random.h"
#include "support/random_values.h"
#include "support/reference_hexplane.h"

namespace eg4d::bench {
namespace {

using test::DeviceBuffer;

// Random floats; what the caches hold from one repeat to the next is part of the picture below 50 MB.
class Arrays {
 public:
  float* operator()(int64_t count, float low = -1) {
    Philox random(++seed_);
    buffers_.emplace_back(test::uniform_values<float>(random, count, low, 1));
    return buffers_.back().data();
  }

 private:
  uint64_t seed_ = 0;
  std::vector<DeviceBuffer<float>> buffers_;
};

class Rows {
 public:
  Rows(Timer& timer, double bytes_per_second, std::string only)
      : timer_(timer),
        bytes_per_second_(bytes_per_second),
        only_(std::move(only)),
        table_({"kernel", "MB", "floor [ms]", "ms", "of the floor", "TFLOP/s"}) {}
  // Whether any with names that begin so is to run.
  bool wants(const std::string& prefix) const { return prefix.starts_with(only_.substr(0, prefix.size())); }
  void measure(const std::string& name, double bytes, const std::function<void(cudaStream_t)>& enqueue,
               double flops = 0) {
    if (!name.starts_with(only_)) return;
    const double floor = bytes / bytes_per_second_ * 1e3, time = timer_.median_as_graph(enqueue);
    table_.row({name, fmt::format("{:.1f}", bytes / 1e6), number(floor), number(time),
                fmt::format("{:.0f} %", 100 * floor / time),
                flops > 0 ? fmt::format("{:.0f}", flops / time * 1e-9) : ""});
  }

 private:
  Timer& timer_;
  double bytes_per_second_;
  std::string only_;
  Table table_;
};

void sh_color(Rows& rows, int64_t n) {
  if (!rows.wants("SH")) return;
  Arrays arrays;
  ShColorBackward b;
  ShColor& a = b.forward;
  a.count = n;
  a.degree = 3;
  a.camera_center = arrays(3);
  a.positions = arrays(3 * n);
  a.sh_dc = arrays(3 * n);
  a.sh_rest = arrays(45 * n);
  a.gain_bias = arrays(4 * n);
  a.colors = arrays(3 * n);
  b.d_colors = arrays(3 * n);
  b.d_positions = arrays(3 * n);
  b.d_sh_dc = arrays(3 * n);
  b.d_sh_rest = arrays(45 * n);
  b.d_gain_bias = arrays(4 * n);
  const double gaussians = static_cast<double>(n);
  rows.measure(fmt::format("SH colour forward, {}k", n / 1000), gaussians * 4 * 58,
               [&](cudaStream_t stream) { cuda::sh_color_forward(a, stream); });
  rows.measure(fmt::format("SH colour backward, {}k", n / 1000), gaussians * 4 * (61 + 2 * 55),
               [&](cudaStream_t stream) { cuda::sh_color_backward(b, stream); });
}

void activation(Rows& rows, int64_t n) {
  if (!rows.wants("activation")) return;
  Arrays arrays;
  GaussianActivationBackward b;
  GaussianActivation& a = b.forward;
  a.count = n;
  a.positions = arrays(3 * n);
  a.log_scales = arrays(3 * n);
  a.quaternions = arrays(4 * n);
  a.opacity_logits = arrays(n);
  a.delta_positions = arrays(3 * n);
  a.delta_log_scales = arrays(3 * n);
  a.delta_quaternions = arrays(4 * n);
  a.raw_gain = arrays(n);
  a.raw_bias = arrays(3 * n);
  a.means = arrays(3 * n);
  a.scales = arrays(3 * n);
  a.rotations = arrays(4 * n);
  a.opacities = arrays(n);
  a.gain_bias = arrays(4 * n);
  b.d_means = arrays(3 * n);
  b.d_scales = arrays(3 * n);
  b.d_rotations = arrays(4 * n);
  b.d_opacities = arrays(n);
  b.d_gain_bias = arrays(4 * n);
  b.d_positions = arrays(3 * n);
  b.d_log_scales = arrays(3 * n);
  b.d_quaternions = arrays(4 * n);
  b.d_opacity_logits = arrays(n);
  b.d_delta_positions = arrays(3 * n);
  b.d_delta_log_scales = arrays(3 * n);
  b.d_delta_quaternions = arrays(4 * n);
  b.d_raw_gain = arrays(n);
  b.d_raw_bias = arrays(3 * n);
  const double gaussians = static_cast<double>(n);
  rows.measure(fmt::format("activation forward, {}k", n / 1000), gaussians * 4 * (25 + 15),
               [&](cudaStream_t stream) { cuda::gaussian_activation_forward(a, stream); });
  // Reads the sums of scales, rotations and opacities, the gain and five gradients.
  rows.measure(fmt::format("activation backward, {}k", n / 1000), gaussians * 4 * (15 + 1 + 15 + 2 * 25),
               [&](cudaStream_t stream) { cuda::gaussian_activation_backward(b, stream); });
}

void image_loss(Rows& rows, int width, int height) {
  if (!rows.wants("L1")) return;
  Arrays arrays;
  const int64_t count = int64_t{3} * width * height;
  const DeviceBuffer<uint8_t> workspace(
      static_cast<int64_t>(cuda::image_loss_workspace_bytes(width, height)));
  const DeviceBuffer<double> values(4);
  ImageLoss loss;
  loss.width = width;
  loss.height = height;
  loss.image = arrays(count);
  loss.target = arrays(count);
  loss.d_image = arrays(count);
  loss.values = values.data();
  const double bytes = static_cast<double>(count) * 12;
  const auto run = [&](cudaStream_t stream) { cuda::image_loss(loss, workspace.data(), stream); };
  rows.measure(fmt::format("L1 with gradient, {}×{}", width, height), bytes, run);
  loss.dssim_weight = 0.2f;
  rows.measure(fmt::format("L1 + DSSIM with gradient, {}×{}", width, height), bytes, run);
}

void adam(Rows& rows, const std::string& name, const std::vector<int64_t>& counts) {
  if (!rows.wants("Adam")) return;
  Arrays arrays;
  std::vector<Adam> tensors;
  int64_t total = 0;
  const DeviceBuffer<AdamRate> rate(std::vector<AdamRate>{adam_rate(1e-3, 10)});
  for (const int64_t count : counts) {
    total += count;
    tensors.push_back({.count = count,
                       .parameter = arrays(count),
                       .gradient = arrays(count),
                       .first_moment = arrays(count),
                       .second_moment = arrays(count, 0.1f),
                       .rate = rate.data()});
  }
  // The gradients are zero from the second time on: four reads and three writes.
  rows.measure(name, static_cast<double>(total) * 4 * 7,
               [&](cudaStream_t stream) { cuda::adam(tensors, stream); });
}

// The published field. Floor: features, points, and the texels once; backwards also the gradients.
void hexplane(Rows& rows, int64_t n) {
  if (!rows.wants("hexplane")) return;
  Arrays arrays;
  const HexPlaneLayout layout = test::make_hexplane_layout(32, 64, 25, 4);
  test::DescriptionAlone context({layout, {}});
  HexPlaneBackward b;
  HexPlane& field = b.forward;
  field.context = &context;
  field.count = n;
  field.grid = arrays(layout.size());
  const DeviceBuffer<float> box(std::vector<float>{1.3f, 1.3f, 1.3f, -1.3f, -1.3f, -1.3f}),
      time(std::vector<float>{0.4f});
  field.box = box.data();
  field.time = time.data();
  field.points = arrays(3 * n);
  field.features = arrays(n * layout.feature_width());
  b.d_features = arrays(n * layout.feature_width());
  b.d_grid = arrays(layout.size());
  b.d_points = arrays(3 * n);
  const DeviceBuffer<uint8_t> workspace(
      static_cast<int64_t>(cuda::hexplane_backward_workspace_bytes(layout, n)));
  // At most every texel of the planes without time, and two rows of the others.
  double texels = 0;
  for (size_t i = 0; i < layout.planes.size(); ++i) {
    const HexPlaneLayout::Plane& plane = layout.planes[i];
    const bool time_plane = plane.rows == 25;
    texels += std::min<double>(4.0 * static_cast<double>(n), (time_plane ? 2.0 : plane.rows) * plane.columns);
  }
  const double features = static_cast<double>(n) * 4 * layout.feature_width(),
               planes = texels * 4 * layout.channels;
  rows.measure(fmt::format("hexplane forward, {}k", n / 1000), features + planes,
               [&](cudaStream_t stream) { cuda::hexplane_forward(field, stream); });
  rows.measure(fmt::format("hexplane backward, {}k", n / 1000), features + 3 * planes,
               [&](cudaStream_t stream) { cuda::hexplane_backward(b, workspace.data(), stream); });
  rows.measure(fmt::format("hexplane backward, its order alone, {}k", n / 1000), 0,
               [&](cudaStream_t stream) { cuda::hexplane_backward_order(b, workspace.data(), stream); });
  rows.measure(fmt::format("hexplane backward, its gradients alone, {}k", n / 1000), features + 3 * planes,
               [&](cudaStream_t stream) { cuda::hexplane_backward_gradients(b, workspace.data(), stream); });
}

void hexplane_adam(Rows& rows) {
  if (!rows.wants("hexplane Adam")) return;
  Arrays arrays;
  const HexPlaneLayout layout = test::make_hexplane_layout(32, 64, 25, 4);
  HexPlaneAdam a;
  const test::DescriptionAlone context({layout, {}});
  const DeviceBuffer<AdamRate> rate(std::vector<AdamRate>{adam_rate(1e-3, 10)});
  a.context = &context;
  a.plane_smoothness = 1e-4f;
  a.time_smoothness = 1e-3f;
  a.time_l1 = 1e-4f;
  a.adam = {.count = layout.size(),
            .parameter = arrays(layout.size()),
            .gradient = arrays(layout.size()),
            .first_moment = arrays(layout.size()),
            .second_moment = arrays(layout.size(), 0.1f),
            .rate = rate.data()};
  rows.measure(fmt::format("hexplane Adam with regularisers, {:.1f} M floats",
                           static_cast<double>(layout.size()) / 1e6),
               static_cast<double>(layout.size()) * 4 * 7,
               [&](cudaStream_t stream) { cuda::hexplane_adam(a, stream); });
}

// The published network. Bytes: features, activations and outputs, once.
void network(Rows& rows, int64_t n, cuda::MatrixPrecision precision, const char* name, bool any_gpu = false) {
  if (!rows.wants("network")) return;
  Arrays arrays;
  const auto layer = [&](int in, int out) {
    return cuda::DenseLayer{
        in, out, arrays(int64_t{in} * out), arrays(out), arrays(int64_t{in} * out), arrays(out)};
  };
  cuda::Mlp net;
  net.any_gpu = any_gpu;
  net.count = n;
  net.features = arrays(n * 128);
  net.d_features = arrays(n * 128);
  net.trunk = {layer(128, 256), layer(256, 256)};
  double outputs = 0, multiplications = 128 * 256 + 256 * 256;
  for (const int out : {3, 3, 4, 1, 3}) {
    net.heads.push_back({layer(256, 256), layer(256, out), arrays(n * out), arrays(n * out)});
    outputs += out;
    multiplications += 256 * (256 + out);
  }
  const DeviceBuffer<uint8_t> activations(static_cast<int64_t>(cuda::mlp_activation_bytes(net)));
  net.activations = activations.data();
  const double activation_bytes = precision == cuda::MatrixPrecision::bf16 ? 2 : 4;
  const DeviceBuffer<uint8_t> workspace(
      static_cast<int64_t>(cuda::mlp_workspace_bytes(net, precision, true)));
  const double count = static_cast<double>(n);
  cuda::mlp_forward(net, precision, workspace.data(), nullptr);  // whatever is measured
  rows.measure(
      fmt::format("network forward, {}, {}k", name, n / 1000),
      count * (4 * (128 + outputs) + activation_bytes * 256 * 7),
      [&](cudaStream_t stream) { cuda::mlp_forward(net, precision, workspace.data(), stream); },
      2 * count * multiplications);
  rows.measure(
      fmt::format("network backward, {}, {}k", name, n / 1000),
      count * (4 * (3 * 128 + outputs) + activation_bytes * 256 * 7),
      [&](cudaStream_t stream) { cuda::mlp_backward(net, precision, workspace.data(), stream); },
      4 * count * multiplications);
}

}  // namespace

int run(int repeats, const std::string& only) {
  if (const std::string missing = test::missing_gpu(); !missing.empty()) {
    fmt::print("{}; nothing was measured.\n", missing);
    return 0;
  }
  Timer timer(repeats);
  const double speed = repeats > 0 ? copy_bytes_per_second(timer) : 1;
  fmt::print("{}, copies at {:.2f} TB/s, medians of {} graphs\n\n", gpu_name(), speed / 1e12, repeats);
  Rows rows(timer, speed, only);
  for (const int64_t count : {40000, 1000000}) {
    sh_color(rows, count);
    activation(rows, count);
    if (count == 1000000) continue;
    hexplane(rows, count);
    for (const int64_t rows_of_network : {10000, 40000, 100000}) {
      network(rows, rows_of_network, cuda::MatrixPrecision::f32, "f32");
      network(rows, rows_of_network, cuda::MatrixPrecision::bf16, "bf16");
    }
    network(rows, count, cuda::MatrixPrecision::f32, "f32 for any GPU", true);
    network(rows, count, cuda::MatrixPrecision::tf32, "tf32", true);
    network(rows, count, cuda::MatrixPrecision::bf16, "bf16 for any GPU", true);
    adam(rows, fmt::format("Adam, six tensors, {}k", count / 1000),
         {3 * count, 3 * count, 45 * count, count, 3 * count, 4 * count});
  }
  adam(rows, "Adam, a grid of 35.7 M floats", {35700000});
  hexplane_adam(rows);
  image_loss(rows, 576, 576);
  image_loss(rows, 1920, 1080);
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
