// The deformation field and the optimiser: each kernel on one thread against the plain scalar version, on all
// threads, and against its floor: the larger of its bytes at the memory's speed and its operations at the
// speed of a large matrix product, both measured first. Plain versions run once, on at most 1000 points, and
// are scaled to N.

#include <fmt/format.h>

#include <cmath>

#include "backend/backend.h"
#include "core/threads.h"
#include "nn/tensor.h"
#include "random/random.h"
#include "report.h"
#include "support/device_value.h"
#include "support/random_values.h"
#include "support/reference_hexplane.h"
#include "support/reference_mlp.h"
#include "support/reference_training.h"

namespace eg4d::bench {
namespace {

using test::HexPlaneInput;
using test::ReferenceLayer;
using test::ReferenceMlp;
using test::uniform_values;

// A bumpy shell in [-1,1]³, as an object's surface, in random order.
std::vector<float> surface_points(Philox& random, int64_t count) {
  std::vector<float> points;
  for (int64_t i = 0; i < count; ++i) {
    float p[3] = {random.normal(), random.normal(), random.normal()};
    const float norm = std::sqrt(p[0] * p[0] + p[1] * p[1] + p[2] * p[2]) + 1e-6f;
    const float radius =
        0.7f + 0.15f * std::sin(5 * p[0] / norm) * std::cos(4 * p[1] / norm) + 0.02f * random.normal();
    for (const float v : p) points.push_back(v / norm * radius);
  }
  return points;
}

// A field with its network in device memory, and the same as input of the plain versions.
class Field {
 public:
  Field(Backend& backend, const HexPlaneLayout& layout, int width, int64_t count)
      : backend_(backend), layout_(layout), random_(7), count_(count) {
    plain_.layout = layout;
    plain_.grid = uniform_values<float>(random_, layout.size(), 0.7f, 1.3f);
    plain_.box = {1, 1, 1, -1, -1, -1};
    plain_.points = surface_points(random_, count);
    plain_.times.assign(static_cast<size_t>(count), 0.37f);
    grid_ = upload(plain_.grid);
    box_ = upload(plain_.box);
    points_ = upload(plain_.points);
    features_ = upload(uniform_values<float>(random_, count * layout.feature_width(), -1, 1));
    d_features_ = upload(uniform_values<float>(random_, count * layout.feature_width(), -1, 1));
    d_grid_ = Tensor::zeros(backend, {layout.size()});
    d_box_ = Tensor::zeros(backend, {6});
    d_points_ = Tensor::zeros(backend, {count * 3});
    make_network(width);
    field_ = {.forward = {.context = context_.get(),
                          .count = count,
                          .grid = grid_.data(),
                          .box = box_.data(),
                          .points = points_.data(),
                          .time = upload({0.37f}).data(),
                          .features = features_.data()},
              .d_features = d_features_.data(),
              .d_grid = d_grid_.data(),
              .d_box = d_box_.data(),
              .d_points = d_points_.data()};
  }

  void run(const Report& report, const std::string& name) {
    hexplane(report, name);
    network(report, name);
  }

 private:
  Tensor upload(const std::vector<float>& values) {
    tensors_.push_back(Tensor::from_host(backend_, {static_cast<int64_t>(values.size())}, values));
    return tensors_.back();
  }

  DeformationNetworkLayout::Layer layer(int in, int out, ReferenceLayer<float>& plain) {
    const float bound = std::sqrt(6.0f / static_cast<float>(in + out));
    plain = {in, out, uniform_values<float>(random_, int64_t{in} * out, -bound, bound),
             uniform_values<float>(random_, out, -0.1f, 0.1f)};
    const auto append = [&](const std::vector<float>& values) {
      const auto place = static_cast<int64_t>(weights_.size());
      weights_.insert(weights_.end(), values.begin(), values.end());
      return place;
    };
    kept_ += out;
    const int64_t weight = append(plain.weight);
    return {in, out, weight, append(plain.bias)};
  }

  // Heads: position, log-scale, quaternion, gain, bias.
  void make_network(int width) {
    FieldDescription description{layout_, {}};
    mlp_.trunk.resize(2);
    description.network.trunk = {layer(layout_.feature_width(), width, mlp_.trunk[0]),
                                 layer(width, width, mlp_.trunk[1])};
    DeformationNetwork& forward = network_.forward;
    size_t number = 0;
    for (const int out : {3, 3, 4, 1, 3}) {
      mlp_.heads.emplace_back();
      DeformationNetworkLayout::Head head;
      head.hidden = layer(width, width, mlp_.heads.back().hidden);
      head.last = layer(width, out, mlp_.heads.back().last);
      kept_ -= out;
      description.network.heads.push_back(head);
      forward.outputs[number] = upload(std::vector<float>(static_cast<size_t>(count_ * out))).data();
      network_.d_outputs[number++] = upload(uniform_values<float>(random_, count_ * out, -1, 1)).data();
      network_flops_ += 2.0 * static_cast<double>(count_) * width * (width + out);
    }
    network_flops_ += 2.0 * static_cast<double>(count_) * width * (layout_.feature_width() + width);
    context_ = backend_.create_field_context(description);
    forward.context = context_.get();
    forward.count = count_;
    forward.features = features_.data();
    forward.weights = upload(weights_).data();
    forward.keep = true;
    network_.d_features = d_features_.data();
    network_.d_weights = upload(std::vector<float>(weights_.size())).data();
  }

  // Texels that the points touch, in bytes.
  double touched_bytes() const {
    double texels = 0;
    const int axes[6][2] = {{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}};
    for (size_t i = 0; i < layout_.planes.size(); ++i) {
      const HexPlaneLayout::Plane& plane = layout_.planes[i];
      std::vector<bool> touched(static_cast<size_t>(plane.rows + 1) * (plane.columns + 1));
      for (int64_t point = 0; point < count_; ++point) {
        const auto low = [&](int axis, int size) {
          const float u = axis < 3 ? -plain_.points[point * 3 + axis] : 0.37f;
          return static_cast<int>(std::clamp((u + 1) / 2 * static_cast<float>(size - 1), 0.0f, size - 1.0f));
        };
        const int column = low(axes[i % 6][0], plane.columns), row = low(axes[i % 6][1], plane.rows);
        for (const int r : {row, row + 1})
          for (const int c : {column, column + 1})
            touched[static_cast<size_t>(r) * (plane.columns + 1) + c] = true;
      }
      texels += static_cast<double>(std::count(touched.begin(), touched.end(), true));
    }
    return texels * layout_.channels * 4;
  }

  HexPlaneInput<float> plain_part(int64_t count) const {
    HexPlaneInput<float> part = plain_;
    part.points.resize(static_cast<size_t>(count * 3));
    part.times.resize(static_cast<size_t>(count));
    return part;
  }

  void hexplane(const Report& report, const std::string& name) {
    const double features = static_cast<double>(count_) * layout_.feature_width(), touched = touched_bytes();
    const int64_t part_count = std::min<int64_t>(count_, 1000);
    const double scale = static_cast<double>(count_) / static_cast<double>(part_count);
    const HexPlaneInput<float> part = plain_part(part_count);
    const std::vector<float> d_features(static_cast<size_t>(part_count * layout_.feature_width()), 0.5f);
    Work forward{.name = fmt::format("hexplane forward, {}, N={}", name, count_)};
    forward.bytes = touched + features * 4;
    forward.flops =
        features * (6 * 6 + 5);  // three interpolations of two operations (subtract, multiply-add) per plane
    forward.plain_seconds = scale * seconds_once([&] { test::reference_hexplane(part); });
    report.measure(forward, [&] { backend_.run(field_.forward); });
    Work backward{.name = fmt::format("hexplane backward, {}, N={}", name, count_)};
    backward.bytes = 3 * touched + features * 4;  // texels read, gradients read and written
    backward.flops = features * 6 * (11 + 3 + 4 + 8);
    const double zero_fill = seconds_once([&] { std::vector<float> zeros(plain_.grid.size()); });
    backward.plain_seconds =
        scale *
        std::max(0.0, seconds_once([&] { test::reference_hexplane_backward(part, d_features); }) - zero_fill);
    report.measure(backward, [&] { backend_.run(field_); });
  }

  void network(const Report& report, const std::string& name) {
    const int64_t part_count = std::min<int64_t>(count_, 200);
    const double scale = static_cast<double>(count_) / static_cast<double>(part_count);
    const std::vector<float> features(static_cast<size_t>(part_count * layout_.feature_width()), 0.5f);
    std::vector<std::vector<float>> d_outputs;
    for (const auto& head : mlp_.heads)
      d_outputs.emplace_back(static_cast<size_t>(part_count * head.last.out), 0.5f);
    const double kept = static_cast<double>(count_ * kept_) * 4;
    const double input = static_cast<double>(count_) * layout_.feature_width() * 4;
    Work forward{.name = fmt::format("network forward, {}, N={}", name, count_)};
    forward.bytes = input + kept;
    forward.flops = network_flops_;
    forward.plain_seconds = scale * seconds_once([&] { test::reference_mlp(mlp_, features); });
    report.measure(
        forward, [&] { backend_.run(network_.forward); }, 7);
    Work backward{.name = fmt::format("network backward, {}, N={}", name, count_)};
    backward.bytes = 3 * input + kept;
    backward.flops = 2 * network_flops_;
    backward.plain_seconds =
        scale * seconds_once([&] { test::reference_mlp_backward(mlp_, features, d_outputs); });
    report.measure(
        backward, [&] { backend_.run(network_); }, 7);
  }

  Backend& backend_;
  const HexPlaneLayout layout_;
  Philox random_;
  const int64_t count_;
  HexPlaneInput<float> plain_;
  ReferenceMlp<float> mlp_;
  std::vector<Tensor> tensors_;
  Tensor grid_, box_, points_, features_, d_features_, d_grid_, d_box_, d_points_;
  std::vector<float> weights_;
  int64_t kept_ = 0;  // activations per Gaussian
  std::unique_ptr<FieldContext> context_;
  HexPlaneBackward field_;
  DeformationNetworkBackward network_;
  double network_flops_ = 0;
};

void optimiser(Backend& backend, const Report& report, const HexPlaneLayout& layout,
               const std::string& name) {
  const int64_t count = layout.size();
  Philox random(3);
  const Tensor parameter =
      Tensor::from_host(backend, {count}, uniform_values<float>(random, count, 0.7f, 1.3f));
  const Tensor gradient = Tensor::zeros(backend, {count}), first = Tensor::zeros(backend, {count}),
               second = Tensor::zeros(backend, {count});
  const test::DeviceValue<AdamRate> rate(backend, adam_rate(1e-3, 1));
  const auto context = backend.create_field_context({layout, {}});
  const Adam adam{.count = count,
                  .parameter = parameter.data(),
                  .gradient = gradient.data(),
                  .first_moment = first.data(),
                  .second_moment = second.data(),
                  .rate = rate.data()};
  std::vector<float> plain = parameter.to_host(),
                     moments[2] = {std::vector<float>(count), std::vector<float>(count)};
  Work fused{.name = fmt::format("hexplane Adam + regularisers, {}", name)};
  fused.bytes =
      static_cast<double>(count) * 4 * 7;  // the gradient is read; written only where it is not zero
  fused.flops = static_cast<double>(count) * 25;
  fused.plain_seconds = seconds_once([&] {
    std::vector<float> d(static_cast<size_t>(count));
    test::reference_regularization(layout, plain, {0.0002, 0.001, 0.001}, &d);
    test::reference_adam(plain, d, moments[0], moments[1], 1, 1e-3);
  });
  const auto run = [&] {
    backend.run(HexPlaneAdam{.context = context.get(),
                             .adam = adam,
                             .plane_smoothness = 0.0002f,
                             .time_smoothness = 0.001f,
                             .time_l1 = 0.001f});
  };
  report.measure(fused, run);
  Work alone{.name = fmt::format("Adam alone, {}", name)};
  alone.bytes = fused.bytes;
  alone.flops = static_cast<double>(count) * 15;
  const std::vector<float> d(static_cast<size_t>(count), 1e-4f);
  alone.plain_seconds =
      seconds_once([&] { test::reference_adam(plain, d, moments[0], moments[1], 2, 1e-3); });
  report.measure(alone, [&] { backend.run(adam); });
}

void losses(Backend& backend, const Report& report, int size) {
  const int64_t count = int64_t{3} * size * size;
  Philox random(4);
  const std::vector<float> a = uniform_values<float>(random, count, 0, 1),
                           b = uniform_values<float>(random, count, 0, 1);
  const Tensor image = Tensor::from_host(backend, {count}, a),
               target = Tensor::from_host(backend, {count}, b), gradient = Tensor::empty(backend, {count}),
               values = Tensor::empty(backend, {4}, DType::f64);
  ImageLoss loss;
  loss.width = loss.height = size;
  loss.image = image.data();
  loss.target = target.data();
  loss.l1_weight = 0.8f;
  loss.dssim_weight = 0.2f;
  loss.d_image = gradient.data();
  loss.values = values.data<double>();
  Work ssim{.name = fmt::format("L1 + DSSIM with gradient, {}²", size)};
  ssim.bytes = static_cast<double>(count) * 4 * 3;
  ssim.flops = static_cast<double>(count) * (8 * 22 * 2 + 40);
  const int part = std::min(size, 96);
  const size_t part_count = size_t{3} * part * part;
  std::vector<float> d;
  ssim.plain_seconds = static_cast<double>(count) / static_cast<double>(part_count) * seconds_once([&] {
                         test::reference_ssim<float>({a.begin(), a.begin() + part_count},
                                                     {b.begin(), b.begin() + part_count}, part, part, &d);
                       });
  report.measure(ssim, [&] { backend.run(loss); });
  loss.dssim_weight = 0;
  Work l1{.name = fmt::format("L1 with gradient, {}²", size)};
  l1.bytes = ssim.bytes;
  l1.flops = static_cast<double>(count) * 5;
  l1.plain_seconds = seconds_once([&] {
    double sum = 0;
    d.resize(a.size());
    for (size_t i = 0; i < a.size(); ++i) {
      sum += std::abs(a[i] - b[i]);
      d[i] = a[i] > b[i] ? 1.0f : a[i] < b[i] ? -1.0f : 0.0f;
    }
    d[0] += static_cast<float>(sum * 1e-30);
  });
  report.measure(l1, [&] { backend.run(loss); });
}

}  // namespace

void run() {
  const Machine machine = measure_machine();
  const auto backend = make_cpu_backend();
  fmt::print("{}; one thread: {:.1f} GB/s, {:.0f} GFLOP/s\n\n", backend->name(),
             machine.bytes_per_second / 1e9, machine.flops_per_second / 1e9);
  const Report report(machine);
  const HexPlaneLayout full = test::make_hexplane_layout(32, 64, 25, 4),
                       small = test::make_hexplane_layout(16, 64, 25, 2);
  Field(*backend, small, 64, 2000).run(report, "small");
  Field(*backend, small, 64, 20000).run(report, "small");
  Field(*backend, full, 256, 2000).run(report, "full");
  Field(*backend, full, 256, 20000).run(report, "full");
  optimiser(*backend, report, small, "small");
  optimiser(*backend, report, full, "full");
  for (const int size : {192, 576}) losses(*backend, report, size);
}

}  // namespace eg4d::bench

int main() {
  eg4d::bench::run();
}
