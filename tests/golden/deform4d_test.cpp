// The deformation field (hexplane, network, deltas) against deform4d/: every "<case>.io.safetensors".

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "support/device_fixture.h"
#include "support/golden.h"
#include "support/reference_network.h"

namespace eg4d::test {
namespace {

constexpr double kForward = 1e-4, kGradient = 1e-3;

struct Case {
  std::string name;
  nlohmann::json config, arguments;
  NamedTensors weights;
};

std::vector<std::string> case_names() {
  std::vector<std::string> names;
  const std::string suffix = ".io.safetensors";
  if (!golden_has("deform4d")) return names;
  for (const auto& entry : std::filesystem::directory_iterator(golden_folder() / "deform4d")) {
    const std::string file = entry.path().filename();
    if (file.ends_with(suffix)) names.push_back(file.substr(0, file.size() - suffix.size()));
  }
  std::sort(names.begin(), names.end());
  return names;
}

NamedTensor corners(const nlohmann::json& maximum, const nlohmann::json& minimum) {
  NamedTensor box{{2, 3}, {}};
  for (const nlohmann::json* corner : {&maximum, &minimum})
    for (const float v : *corner) box.values.push_back(v);
  return box;
}

// A case's own "<case>.config.json" has everything; the others share config.json and its "small_args".
Case read_case(const std::string& name) {
  Case c{.name = name, .config = {}, .arguments = {}, .weights = {}};
  const std::string folder = "deform4d/", own = folder + name + ".config.json";
  if (golden_has(own)) {
    c.config = golden_json(own);
  } else {
    const nlohmann::json all = golden_json(folder + "config.json");
    c.config = all.at(name);
    c.arguments = all.at("small_args");
    for (const std::string shared : {"weights_from_hash", "aabb_max", "aabb_min"})
      if (all.contains(shared) && !c.config.contains(shared)) c.config[shared] = all.at(shared);
  }
  if (c.config.contains("args")) c.arguments = c.config.at("args");
  if (c.config.contains("weights_from_hash")) {
    c.weights = tensors_from_hash(c.config.at("weights_from_hash"));
  } else {
    const std::string weights = folder + name + ".weights.safetensors";
    c.weights = tensors_from_file(
        SafetensorsFile(golden_folder() / (golden_has(weights) ? weights : folder + "weights.safetensors")));
  }
  const std::string box = "deformation_net.grid.aabb";
  if (c.config.contains("aabb")) {
    c.weights[box] = corners(c.config.at("aabb").at(0), c.config.at("aabb").at(1));
  } else if (!c.weights.contains(box)) {
    c.weights[box] = corners(c.config.at("aabb_max"), c.config.at("aabb_min"));
  }
  return c;
}

// One evaluation of field and network with some of the heads, forward and backward.
class Evaluation {
 public:
  Evaluation(Backend& backend, const ReferenceNetwork& reference, Tensor points, Tensor times)
      : backend_(backend),
        points_(std::move(points)),
        times_(std::move(times)),
        d_points_(Tensor::zeros(backend, points_.shape())),
        d_times_(Tensor::zeros(backend, times_.shape())),
        field_(reference.field()),
        network_(reference.network()) {
    const int64_t count = points_.dim(0);
    const int width = field_.layout->feature_width();
    features_ = Tensor::empty(backend, {count, width});
    d_features_ = Tensor::zeros(backend, {count, width});
    field_.count = network_.count = count;
    field_.points = points_.data();
    field_.times = times_.data();
    field_.features = features_.data();
    field_.d_features = d_features_.data();
    field_.d_points = d_points_.data();
    field_.d_times = d_times_.data();
    network_.features = features_.data();
    network_.d_features = d_features_.data();
    outputs_.resize(network_.heads.size());
    d_outputs_.resize(network_.heads.size());
  }

  // All points at one time; d_times stays zero.
  void use_common_time(float time) {
    field_.times = nullptr;
    field_.d_times = nullptr;
    field_.time = time;
  }

  void want(int head) {
    if (head < 0) return;
    outputs_[head] = Tensor::empty(backend_, {network_.count, network_.heads[head].last.out});
    network_.heads[head].output = outputs_[head].data();
  }
  void give(int head, const std::vector<float>& d_output) {
    if (head < 0) return;
    d_outputs_[head] = Tensor::from_host(backend_, outputs_[head].shape(), d_output);
    network_.heads[head].d_output = d_outputs_[head].data();
  }
  std::vector<float> output(int head) const { return outputs_[head].to_host(); }
  const Tensor& d_points() const { return d_points_; }
  const Tensor& d_times() const { return d_times_; }

  void forward() {
    activations_ = Tensor::empty(backend_, {deformation_network_activations(network_)});
    network_.activations = activations_.data();
    backend_.run(field_);
    backend_.run(network_);
  }
  void backward() {
    backend_.run(DeformationNetworkBackward{network_});
    backend_.run(HexPlaneBackward{field_});
  }

 private:
  Backend& backend_;
  Tensor points_, times_, d_points_, d_times_, features_, d_features_, activations_;
  HexPlane field_;
  DeformationNetwork network_;
  std::vector<Tensor> outputs_, d_outputs_;
};

class Deform4d : public OnEachDeviceWith<std::string> {
 protected:
  void run(bool common_time);
  void compare_parameter_gradients(const Case& c, const SafetensorsFile& io, const NamedTensors& gradients);
};

std::vector<float> sum(std::vector<float> a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

void Deform4d::compare_parameter_gradients(const Case& c, const SafetensorsFile& io,
                                           const NamedTensors& gradients) {
  for (const auto& [name, gradient] : gradients) {
    if (io.contains("grad_param." + name)) {
      EXPECT_LE(relative_error(gradient.values, io.floats("grad_param." + name)), kGradient) << name;
    } else if (c.config.contains("grad_norms") && c.config.at("grad_norms").contains(name)) {
      const nlohmann::json& norms = c.config.at("grad_norms").at(name);
      double l1 = 0, l2 = 0;
      for (const float g : gradient.values) {
        l1 += std::abs(g);
        l2 += static_cast<double>(g) * g;
      }
      const double wanted_l1 = norms.is_null() ? 0 : norms.at("l1").get<double>();
      const double wanted_l2 = norms.is_null() ? 0 : norms.at("l2").get<double>();
      EXPECT_NEAR(l1, wanted_l1, kGradient * wanted_l1) << name;
      EXPECT_NEAR(std::sqrt(l2), wanted_l2, kGradient * wanted_l2) << name;
    }
  }
}

// In eval mode opacity and colour are evaluated at the reference time.
void Deform4d::run(bool common_time) {
  const Case c = read_case(parameter());
  const SafetensorsFile io(golden_folder() / "deform4d" / (c.name + ".io.safetensors"));
  const auto backend = make_test_backend({.guard_memory = true});
  const ReferenceNetwork reference(*backend, c.weights);
  const int64_t count = io.at("in.points").shape.at(0);
  const std::vector<float> times = io.floats("in.time");
  const bool one_time = std::all_of(times.begin(), times.end(), [&](float t) { return t == times.front(); });
  if (common_time && !one_time) GTEST_SKIP() << "the points have different times";
  const bool eval = c.config.value("mode", "train") == "eval";
  const float reference_time = c.arguments.value("render_ref_time", 0.0f);
  const Tensor points = Tensor::from_host(*backend, {count, 3}, io.floats("in.points"));
  Evaluation moving(*backend, reference, points, Tensor::from_host(*backend, {count}, times));
  Evaluation fixed(*backend, reference, points,
                   Tensor::from_host(*backend, {count}, std::vector<float>(count, reference_time)));
  if (common_time) {
    moving.use_common_time(times.front());
    fixed.use_common_time(reference_time);
  }

  struct Delta {
    std::string head, name;  // output = input + head
    bool used;
    Evaluation* evaluation;
  };
  Evaluation& steady = eval ? fixed : moving;
  const std::vector<Delta> deltas = {
      {"pos_deform", "pts", true, &moving},
      {"scales_deform", "scales", !c.arguments.value("no_ds", false), &moving},
      {"rotations_deform", "rotations", !c.arguments.value("no_dr", false), &moving},
      {"opacity_deform", "opacity", c.arguments.value("do", true), &steady}};
  const bool color = io.contains("out.color_deform");
  const int gain = reference.head("color_deform_w"), bias = reference.head("color_deform_b");
  for (const Delta& delta : deltas)
    if (delta.used) delta.evaluation->want(reference.head(delta.head));
  if (color) {
    steady.want(gain);
    steady.want(bias);
  }
  moving.forward();
  if (eval) fixed.forward();

  for (const Delta& delta : deltas) {
    const std::vector<float> input = io.floats("in." + (delta.name == "pts" ? "points" : delta.name));
    const std::vector<float> output =
        delta.used ? sum(input, delta.evaluation->output(reference.head(delta.head))) : input;
    EXPECT_LE(relative_error(output, io.floats("out." + delta.name)), kForward) << delta.name;
    if (delta.used) delta.evaluation->give(reference.head(delta.head), io.floats("upstream." + delta.name));
  }
  if (color) {
    const std::vector<float> w = steady.output(gain), b = steady.output(bias);
    const std::vector<float> upstream = io.floats("upstream.color_deform");
    std::vector<float> output(count * 4), d_w(count), d_b(count * 3);
    for (int64_t i = 0; i < count; ++i) {
      output[i * 4] = w[i] > 0 ? w[i] : std::expm1(w[i]);
      d_w[i] = upstream[i * 4] * (w[i] > 0 ? 1 : std::exp(w[i]));
      for (int k = 0; k < 3; ++k) {
        output[i * 4 + 1 + k] = b[i * 3 + k];
        d_b[i * 3 + k] = upstream[i * 4 + 1 + k];
      }
    }
    EXPECT_LE(relative_error(output, io.floats("out.color_deform")), kForward);
    steady.give(gain, d_w);
    steady.give(bias, d_b);
  }
  moving.backward();
  if (eval) fixed.backward();

  const std::vector<float> d_points = sum(moving.d_points().to_host(), fixed.d_points().to_host());
  EXPECT_LE(relative_error(sum(d_points, io.floats("upstream.pts")), io.floats("grad_in.points")), kGradient);
  if (!common_time && io.contains("grad_in.time")) {
    EXPECT_LE(relative_error(moving.d_times().to_host(), io.floats("grad_in.time")), kGradient);
  }
  compare_parameter_gradients(c, io, reference.gradients());
}

TEST_P(Deform4d, MatchesTheReference) {
  run(false);
}

TEST_P(Deform4d, MatchesTheReferenceWithACommonTime) {
  run(true);
}

INSTANTIATE_TEST_SUITE_P(Golden, Deform4d,
                         testing::Combine(testing::ValuesIn(test_devices()), testing::ValuesIn(case_names())),
                         device_label_and([](const std::string& name) { return name; }));
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Deform4d);

}  // namespace
}  // namespace eg4d::test
