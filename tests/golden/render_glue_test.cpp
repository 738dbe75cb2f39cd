// The full render path and two training iterations against the reference: Renderer, schedules and optimisers
// together.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "splat/density_control.h"
#include "splat/reference_format.h"
#include "splat/renderer.h"
#include "splat/schedule.h"
#include "support/device_fixture.h"
#include "support/device_value.h"
#include "support/golden.h"
#include "support/regularization_terms.h"

namespace eg4d {
namespace {

using test::relative_error;

constexpr const char* kReferenceNames[6] = {"xyz", "f_dc", "f_rest", "scaling", "rotation", "opacity"};

class RenderGlue : public test::OnEachDevice {
 protected:
  void SetUp() override {
    if (!test::golden_has_fixture("render_glue/io.safetensors")) GTEST_SKIP() << "no render_glue fixture";
    config_ = test::golden_json("render_glue/config.json");
    file_ = std::make_unique<SafetensorsFile>(test::golden_tensors("render_glue/io.safetensors"));
    const SafetensorsFile weights = test::golden_tensors("render_glue/weights.safetensors");
    backend_ = test::make_test_backend({.guard_memory = true});
    StateDict state;
    for (const auto& [name, entry] : weights.entries()) state[name] = {entry.shape, weights.floats(name)};
    field_options_from_state(state, options_);
    options_.deformation.reference_time = config_["args"].value("render_ref_time", 0.0f);
    field_ = DeformationField(*backend_, options_);
    load_field_state(field_, state);

    const int64_t count = file_->at("init.xyz").shape[0];
    gaussians_ = Gaussians::zeros(*backend_, count);
    for (size_t i = 0; i < 6; ++i) {
      Tensor& tensor = *gaussians_.tensors()[i];
      tensor = Tensor::from_host<float>(*backend_, tensor.shape(),
                                        file_->floats(std::string("init.") + kReferenceNames[i]));
    }
    gaussians_.active_sh_degree = config_["active_sh_degree"];
    if (!config_.value("white_background", true)) std::fill_n(render_.background, 3, 0.0f);
  }

  Camera camera(const std::string& name) {
    const auto& entry = file_->at(name + ".transform_matrix_f64");
    Matrix4 pose;
    std::memcpy(pose.m.data(), entry.data, sizeof(double) * 16);
    Intrinsics intrinsics;
    intrinsics.fov_x = config_["cameras"][name]["fovx"];
    intrinsics.fov_y = config_["cameras"][name]["fovy"].get<double>();
    return make_camera(pose, config_["width"], config_["height"], intrinsics);
  }

  // Images of the fixtures are [3,H,W].
  std::vector<float> planar(const Tensor& image) {
    const std::vector<float> interleaved = image.to_host();
    const size_t pixels = interleaved.size() / 3;
    std::vector<float> result(interleaved.size());
    for (size_t i = 0; i < pixels; ++i)
      for (size_t c = 0; c < 3; ++c) result[c * pixels + i] = interleaved[i * 3 + c];
    return result;
  }
  Tensor interleaved(const std::string& name) {
    const std::vector<float> planes = file_->floats(name);
    const size_t pixels = planes.size() / 3;
    std::vector<float> result(planes.size());
    for (size_t i = 0; i < pixels; ++i)
      for (size_t c = 0; c < 3; ++c) result[i * 3 + c] = planes[c * pixels + i];
    return Tensor::from_host<float>(
        *backend_, {config_["height"].get<int64_t>(), config_["width"].get<int64_t>(), 3}, result);
  }

  // Compares the field's tensors that the fixture has under the prefix; how many these were.
  size_t compare_field(const StateDict& have, const std::string& prefix, double tolerance) {
    size_t compared = 0;
    for (const auto& [name, tensor] : have) {
      if (!file_->contains(prefix + name) || name.find("timenet") != std::string::npos) continue;
      EXPECT_LE(relative_error(tensor.values, file_->floats(prefix + name)), tolerance) << prefix << name;
      ++compared;
    }
    return compared;
  }
  // The planes, the box and at least one layer.
  size_t least_field_tensors() const { return field_.layout.planes.size() + 2; }

  void check_case(const std::string& name, bool deformed, bool own_time) {
    if (!file_->contains(name + ".image")) return test::golden_absent("render_glue case " + name);
    SCOPED_TRACE(name);
    const std::string camera_name =
        config_.contains(name) ? config_[name].value("camera", std::string("cam0")) : std::string("cam0");
    const float time = config_["cameras"][camera_name]["time"];
    Renderer renderer(*backend_, render_);
    const DeformationField* field = deformed ? &field_ : nullptr;
    renderer.deform(gaussians_, field, time, own_time ? time : options_.deformation.reference_time, true);
    const Renderer::View& view = renderer.render(camera(camera_name));
    EXPECT_LE(relative_error(planar(view.image), file_->floats(name + ".image")), bound_.forward);
    EXPECT_LE(relative_error(view.depth.to_host(), file_->floats(name + ".depth")), bound_.forward);

    Gradients gradients = Gradients::zeros_like(gaussians_, field);
    renderer.render_backward(interleaved("upstream.image"), gradients);
    renderer.deform_backward(gradients);
    for (size_t i = 0; i < 6; ++i)
      EXPECT_LE(relative_error(gradients.gaussians.tensors()[i]->to_host(),
                               file_->floats(name + ".grad." + kReferenceNames[i])),
                bound_.gradient)
          << kReferenceNames[i];
    const std::vector<float> screen = renderer.d_means_ndc().to_host(),
                             wanted = file_->floats(name + ".grad.viewspace");
    std::vector<float> wanted_xy;
    for (size_t i = 0; i < wanted.size(); ++i)
      if (i % 3 != 2) wanted_xy.push_back(wanted[i]);
    EXPECT_LE(relative_error(screen, wanted_xy), bound_.gradient) << "viewspace";
    if (!deformed || !own_time) return;  // the reference has the field's gradient in training mode only
    DeformationField gradient_field = field_;
    gradient_field.grid = gradients.grid;
    gradient_field.box = gradients.box;
    gradient_field.network = gradients.network;
    const size_t compared =
        compare_field(field_state(gradient_field), name + ".grad.deformation.", bound_.gradient);
    // Fixtures have the field's gradients at the training time only.
    if (own_time) {
      EXPECT_GE(compared, least_field_tensors());
    }
  }

  const test::FieldTolerance bound_ = test::field_tolerance();
  nlohmann::json config_;
  std::unique_ptr<SafetensorsFile> file_;
  std::unique_ptr<Backend> backend_;
  ReconstructOptions options_;
  RenderOptions render_;
  DeformationField field_;
  Gaussians gaussians_;
};

TEST_P(RenderGlue, CoarseImageAndGradients) {
  check_case("coarse", false, true);
}
TEST_P(RenderGlue, FineTrainingImageAndGradients) {
  check_case("fine_train", true, true);
}
TEST_P(RenderGlue, FineEvaluationImageAndGradients) {
  check_case("fine_eval", true, false);
}

TEST_P(RenderGlue, TwoTrainingIterations) {
  if (!config_.contains("train")) return test::golden_absent("training iterations");
  TrainedGaussians trained(gaussians_.clone());
  trained.values.active_sh_degree = gaussians_.active_sh_degree;
  Gradients gradients = Gradients::zeros_like(trained.values, &field_);
  const Gradients moments[2] = {Gradients::zeros_like(trained.values, &field_),
                                Gradients::zeros_like(trained.values, &field_)};
  Renderer renderer(*backend_, render_);
  const Tensor values = Tensor::zeros(*backend_, {4}, DType::f64);
  int64_t step = 0;
  for (const auto& entry : config_["train"]) {
    ++step;
    const int64_t iteration = entry["iteration"];
    const std::string name = "train.it" + std::to_string(iteration),
                      camera_name = "cam" + std::to_string(entry["camera"].get<int>());
    SCOPED_TRACE(name);
    const LearningRates rates = learning_rates(options_.rate, iteration, config_["spatial_lr_scale"]);
    EXPECT_NEAR(rates.position / entry["lr"]["xyz"].get<float>(), 1, 1e-5);
    EXPECT_NEAR(rates.grid / entry["lr"]["grid"].get<float>(), 1, 1e-5);
    EXPECT_NEAR(rates.network / entry["lr"]["deformation"].get<float>(), 1, 1e-5);

    const float time = config_["cameras"][camera_name]["time"];
    renderer.deform(trained.values, &field_, time, time, true);
    const Renderer::View& view = renderer.render(camera(camera_name));
    EXPECT_LE(relative_error(planar(view.image), file_->floats(name + ".image")), bound_.forward);
    const Tensor target = interleaved(name + ".gt"), d_image = Tensor::empty(*backend_, target.shape());
    ImageLoss loss;
    loss.width = config_["width"];
    loss.height = config_["height"];
    loss.image = view.image.data();
    loss.target = target.data();
    loss.d_image = d_image.data();
    loss.values = values.data<double>();
    backend_->run(loss);
    EXPECT_NEAR(values.to_host<double>()[0] / entry["l1"].get<double>(), 1, bound_.forward);
    renderer.render_backward(d_image, gradients);
    renderer.deform_backward(gradients);
    DensityStatistics statistics;
    statistics.count = trained.count();
    statistics.d_means_ndc = renderer.d_means_ndc().data();
    statistics.radii = view.radii.data<int32_t>();
    statistics.gradient_sum = trained.gradient_sum.data();
    statistics.views = trained.views.data();
    statistics.max_radii = trained.max_radii.data();
    backend_->run(statistics);

    std::vector<test::DeviceValue<AdamRate>> device_rates;
    auto adam = [&](const Tensor& parameter, const Tensor& gradient, const Tensor& first,
                    const Tensor& second, float rate) {
      Adam a;
      a.count = parameter.count();
      a.parameter = parameter.data();
      a.gradient = gradient.data();
      a.first_moment = first.data();
      a.second_moment = second.data();
      device_rates.emplace_back(*backend_, adam_rate(rate, step));
      a.rate = device_rates.back().data();
      return a;
    };
    const float gaussian_rates[6] = {rates.position, rates.sh_dc,    rates.sh_rest,
                                     rates.scale,    rates.rotation, rates.opacity};
    for (size_t i = 0; i < 6; ++i)
      backend_->run(adam(*trained.values.tensors()[i], *gradients.gaussians.tensors()[i],
                         *moments[0].gaussians.tensors()[i], *moments[1].gaussians.tensors()[i],
                         gaussian_rates[i]));
    HexPlaneAdam grid;
    grid.context = &renderer.field_context(field_);
    grid.adam = adam(field_.grid, gradients.grid, moments[0].grid, moments[1].grid, rates.grid);
    // The published call exchanges the weights of the plane and the l1 term.
    const auto& weights = config_["regulation_weights"];
    grid.time_smoothness = weights["time_smoothness_weight"];
    grid.plane_smoothness = weights["l1_time_planes"];
    grid.time_l1 = weights["plane_tv_weight"];
    const std::vector<double> term = test::regularization_values(*backend_, field_.layout, field_.grid);
    EXPECT_NEAR((term[0] * grid.plane_smoothness + term[1] * grid.time_smoothness + term[2] * grid.time_l1) /
                    entry["regulation"].get<double>(),
                1, bound_.forward);
    backend_->run(grid);
    backend_->run(adam(field_.box, gradients.box, moments[0].box, moments[1].box, rates.grid));
    backend_->run(
        adam(field_.network, gradients.network, moments[0].network, moments[1].network, rates.network));

    for (size_t i = 0; i < 6; ++i)
      EXPECT_LE(relative_error(trained.values.tensors()[i]->to_host(),
                               file_->floats(name + ".after." + kReferenceNames[i])),
                1e-3)
          << kReferenceNames[i];
    EXPECT_GE(compare_field(field_state(field_), name + ".after.deformation.", 1e-3), least_field_tensors());
  }
  EXPECT_GT(step, 0);
  EXPECT_LE(relative_error(trained.gradient_sum.to_host(), file_->floats("train.end.xyz_gradient_accum")),
            bound_.gradient);
  if (test::current_device().precision != FieldPrecision::f32) return;
  EXPECT_LE(relative_error(trained.views.to_host(), file_->floats("train.end.denom")), 0);
  EXPECT_LE(relative_error(trained.max_radii.to_host(), file_->floats("train.end.max_radii2D")), 0);
}

INSTANTIATE_TEST_SUITE_P(, RenderGlue, testing::ValuesIn(test::test_devices_by_precision()),
                         test::DeviceLabel());

}  // namespace
}  // namespace eg4d
