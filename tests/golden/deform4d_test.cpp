// The deformation field (hexplane, network, deltas) against deform4d/: every "<case>.io.safetensors".

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <list>
#include <map>

#include "support/device_fixture.h"
#include "support/golden.h"
#include "support/reference_hexplane.h"
#include "support/reference_network.h"

namespace eg4d::test {
namespace {

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

// One evaluation of field and network with some of the heads, forward and backward. Points of different times
// are evaluated one time after the other.
class Evaluation {
 public:
  Evaluation(Backend& backend, const ReferenceNetwork& reference, const std::vector<float>& points,
             const std::vector<float>& times)
      : backend_(backend),
        reference_(reference),
        description_(reference.description()),
        points_(points),
        times_(times) {
    std::map<float, std::vector<size_t>> by_time;
    for (size_t i = 0; i < times.size(); ++i) by_time[times[i]].push_back(i);
    for (auto& [time, members] : by_time) add_group(time, std::move(members));
  }

  void want(int head) {
    if (head < 0) return;
    for (Group& group : groups_) {
      group.outputs[head] = Tensor::empty(backend_, {group.network.forward.count, width(head)});
      group.network.forward.outputs[head] = group.outputs[head].data();
    }
  }
  void give(int head, const std::vector<float>& d_output) {
    if (head < 0) return;
    for (Group& group : groups_) {
      group.d_outputs[head] = Tensor::from_host(backend_, group.outputs[head].shape(),
                                                rows(d_output, width(head), group.members));
      group.network.d_outputs[head] = group.d_outputs[head].data();
    }
  }
  std::vector<float> output(int head) const {
    return together(width(head), [&](const Group& group) { return group.outputs[head]; });
  }
  std::vector<float> d_points() const {
    return together(3, [](const Group& group) { return group.d_points; });
  }
  // By the plain version, from the derivatives of the features.
  std::vector<float> d_times() const {
    const auto doubles = [](const std::vector<float>& values) {
      return std::vector<double>(values.begin(), values.end());
    };
    const HexPlaneInput<double> input{description_.planes, doubles(reference_.grid().to_host()),
                                      doubles(reference_.box().to_host()), doubles(points_), doubles(times_)};
    const std::vector<float> d_features =
        together(description_.planes.feature_width(), [](const Group& group) { return group.d_features; });
    const std::vector<double> d = reference_hexplane_backward(input, doubles(d_features)).times;
    return {d.begin(), d.end()};
  }

  void forward() {
    for (Group& group : groups_) {
      backend_.run(group.field.forward);
      backend_.run(group.network.forward);
    }
  }
  void backward() {
    for (Group& group : groups_) {
      backend_.run(group.network);
      backend_.run(group.field);
    }
  }

 private:
  static constexpr int kHeads = DeformationNetworkLayout::kMostHeads;
  struct Group {
    std::vector<size_t> members;
    std::unique_ptr<FieldContext> context;
    Tensor points, time, features, d_features, d_points, outputs[kHeads], d_outputs[kHeads];
    HexPlaneBackward field;
    DeformationNetworkBackward network;
  };

  void add_group(float time, std::vector<size_t> members) {
    Group& group = groups_.emplace_back();
    const int64_t count = static_cast<int64_t>(members.size()), width = description_.planes.feature_width();
    group.context = backend_.create_field_context(description_);
    group.points = Tensor::from_host(backend_, {count, 3}, rows(points_, 3, members));
    group.time = Tensor::from_host(backend_, {1}, std::vector<float>{time});
    group.features = Tensor::empty(backend_, {count, width});
    group.d_features = Tensor::zeros(backend_, {count, width});
    group.d_points = Tensor::zeros(backend_, {count, 3});
    group.field = reference_.field();
    group.field.forward.context = group.context.get();
    group.field.forward.count = count;
    group.field.forward.points = group.points.data();
    group.field.forward.time = group.time.data();
    group.field.forward.features = group.features.data();
    group.field.d_features = group.d_features.data();
    group.field.d_points = group.d_points.data();
    group.network = reference_.network();
    group.network.forward.context = group.context.get();
    group.network.forward.count = count;
    group.network.forward.features = group.features.data();
    group.network.forward.keep = true;
    group.network.d_features = group.d_features.data();
    group.members = std::move(members);
  }
  int64_t width(int head) const { return description_.network.heads[static_cast<size_t>(head)].last.out; }
  static std::vector<float> rows(const std::vector<float>& all, int64_t width,
                                 const std::vector<size_t>& members) {
    std::vector<float> some;
    for (const size_t i : members)
      some.insert(some.end(), all.begin() + static_cast<int64_t>(i) * width,
                  all.begin() + static_cast<int64_t>(i + 1) * width);
    return some;
  }
  template <class Take>
  std::vector<float> together(int64_t width, const Take& take) const {
    std::vector<float> all(times_.size() * static_cast<size_t>(width));
    for (const Group& group : groups_) {
      const std::vector<float> some = take(group).to_host();
      for (size_t k = 0; k < group.members.size(); ++k)
        std::copy_n(some.begin() + static_cast<int64_t>(k) * width, width,
                    all.begin() + static_cast<int64_t>(group.members[k]) * width);
    }
    return all;
  }

  Backend& backend_;
  const ReferenceNetwork& reference_;
  const FieldDescription description_;
  const std::vector<float> points_, times_;
  std::list<Group> groups_;
};

class Deform4d : public OnEachDeviceWith<std::string> {
 protected:
  void run();
  void compare_parameter_gradients(const Case& c, const SafetensorsFile& io, const NamedTensors& gradients);

  const FieldTolerance bound_ = field_tolerance();
};

std::vector<float> sum(std::vector<float> a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

void Deform4d::compare_parameter_gradients(const Case& c, const SafetensorsFile& io,
                                           const NamedTensors& gradients) {
  for (const auto& [name, gradient] : gradients) {
    if (io.contains("grad_param." + name)) {
      EXPECT_LE(relative_error(gradient.values, io.floats("grad_param." + name)), bound_.gradient) << name;
    } else if (c.config.contains("grad_norms") && c.config.at("grad_norms").contains(name)) {
      const nlohmann::json& norms = c.config.at("grad_norms").at(name);
      double l1 = 0, l2 = 0;
      for (const float g : gradient.values) {
        l1 += std::abs(g);
        l2 += static_cast<double>(g) * g;
      }
      const double wanted_l1 = norms.is_null() ? 0 : norms.at("l1").get<double>();
      const double wanted_l2 = norms.is_null() ? 0 : norms.at("l2").get<double>();
      EXPECT_NEAR(l1, wanted_l1, bound_.gradient * wanted_l1) << name;
      EXPECT_NEAR(std::sqrt(l2), wanted_l2, bound_.gradient * wanted_l2) << name;
    }
  }
}

// In eval mode opacity and colour are evaluated at the reference time.
void Deform4d::run() {
  const Case c = read_case(parameter());
  const SafetensorsFile io(golden_folder() / "deform4d" / (c.name + ".io.safetensors"));
  const int64_t count = io.at("in.points").shape.at(0);
  const std::vector<float> times = io.floats("in.time");
  // Each time is evaluated by itself, and guarding takes longer than a few points do.
  const bool one_time = std::all_of(times.begin(), times.end(), [&](float t) { return t == times.front(); });
  const auto backend = make_test_backend({.guard_memory = one_time});
  const ReferenceNetwork reference(*backend, c.weights);
  const bool eval = c.config.value("mode", "train") == "eval";
  const float reference_time = c.arguments.value("render_ref_time", 0.0f);
  const std::vector<float> points = io.floats("in.points");
  Evaluation moving(*backend, reference, points, times);
  Evaluation fixed(*backend, reference, points, std::vector<float>(count, reference_time));

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
    EXPECT_LE(relative_error(output, io.floats("out." + delta.name)), bound_.forward) << delta.name;
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
    EXPECT_LE(relative_error(output, io.floats("out.color_deform")), bound_.forward);
    steady.give(gain, d_w);
    steady.give(bias, d_b);
  }
  moving.backward();
  if (eval) fixed.backward();

  const std::vector<float> d_points = sum(moving.d_points(), fixed.d_points());
  EXPECT_LE(relative_error(sum(d_points, io.floats("upstream.pts")), io.floats("grad_in.points")),
            bound_.gradient);
  if (io.contains("grad_in.time")) {
    EXPECT_LE(relative_error(moving.d_times(), io.floats("grad_in.time")), bound_.gradient);
  }
  compare_parameter_gradients(c, io, reference.gradients());
}

TEST_P(Deform4d, MatchesTheReference) {
  run();
}

INSTANTIATE_TEST_SUITE_P(Golden, Deform4d,
                         testing::Combine(testing::ValuesIn(test_devices_by_precision()),
                                          testing::ValuesIn(case_names())),
                         device_label_and([](std::string name) {
                           for (char& letter : name)
                             if (!std::isalnum(static_cast<unsigned char>(letter))) letter = '_';
                           return name;
                         }));
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Deform4d);

}  // namespace
}  // namespace eg4d::test
