#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "nn/tensor.h"
#include "support/golden.h"
#include "support/golden_raster.h"

// The rasteriser and the SH colour against the reference implementation on every case of the `rasterizer`
// fixture.
namespace eg4d::test {
namespace {

class RasterizerGolden : public testing::TestWithParam<std::string> {
 protected:
  RasterizerGolden()
      : settings(golden_json("rasterizer/config.json")["cases"][GetParam()]),
        file(golden_tensors("rasterizer/" + GetParam() + ".safetensors")),
        backend(make_cpu_backend({.guard_memory = true})) {
    count = file.at("in.means3D").shape.at(0);
    height = file.at("out.image").shape.at(1);
    width = file.at("out.image").shape.at(2);
  }

  Tensor input(const std::string& name) {
    return Tensor::from_host<float>(*backend, file.at(name).shape, file.floats(name));
  }
  // The tensor with this input's shape that receives its gradient.
  Tensor gradient(Shape shape) { return Tensor::zeros(*backend, std::move(shape)); }
  double spread(const std::string& name) const {
    return settings["grad_run_to_run_max_abs"].value(name, 0.0);
  }
  bool has(const std::string& name) const { return file.contains(name); }

  nlohmann::json settings;
  SafetensorsFile file;
  std::unique_ptr<Backend> backend;
  int64_t count = 0, width = 0, height = 0;
};

TEST_P(RasterizerGolden, ForwardAndGradients) {
  const Tensor means = input("in.means3D"), opacity = input("in.opacity");
  const Tensor scales = has("in.scales") ? input("in.scales") : Tensor();
  const Tensor rotations = has("in.rotations") ? input("in.rotations") : Tensor();
  const Tensor covariances = has("in.cov3D") ? input("in.cov3D") : Tensor();
  const Tensor colors = has("in.colors") ? input("in.colors") : Tensor::empty(*backend, {count, 3});
  const auto pointer = [](const Tensor& tensor) { return tensor.defined() ? tensor.data() : nullptr; };

  ShColor sh;
  Tensor dc, rest;
  if (has("in.shs")) {
    const size_t row = 3 * static_cast<size_t>(file.at("in.shs").shape.at(1));
    ASSERT_EQ(row, 48u);
    const std::vector<float> shs = file.floats("in.shs");
    dc = Tensor::from_host<float>(*backend, {count, 3}, columns(shs, row, 0, 3));
    rest = Tensor::from_host<float>(*backend, {count, 15, 3}, columns(shs, row, 3, 45));
    sh.count = count;
    sh.degree = settings["sh_degree"];
    sh.positions = means.data();
    std::ranges::copy(file.floats("cam.camera_center"), sh.camera_center);
    sh.sh_dc = dc.data();
    sh.sh_rest = rest.data();
    sh.colors = colors.data();
    backend->run(sh);
  }

  const Tensor image = Tensor::empty(*backend, {height, width, 3}),
               depth = Tensor::empty(*backend, {height, width});
  const Tensor radii = Tensor::empty(*backend, {count}, DType::i32);
  const auto context = backend->create_rasterize_context();
  RasterizeForward forward;
  forward.camera = golden_raster_camera(settings, file);
  forward.count = count;
  forward.means = means.data();
  forward.scales = pointer(scales);
  forward.rotations = pointer(rotations);
  forward.covariances = pointer(covariances);
  forward.opacities = opacity.data();
  forward.colors = colors.data();
  forward.image = image.data();
  forward.depth = depth.data();
  forward.radii = radii.data<int32_t>();
  forward.context = context.get();
  backend->run(forward);

  const auto& stored_radii = file.at("out.radii");
  const int32_t* want_radii = reinterpret_cast<const int32_t*>(stored_radii.data);
  EXPECT_EQ(radii.to_host<int32_t>(), std::vector<int32_t>(want_radii, want_radii + count));
  const std::vector<bool> skip = covering_gaussians(
      file, expect_image(image.to_host(), channels_last(file.floats("out.image")), 3, "image"));
  expect_image(depth.to_host(), file.floats("out.depth"), 1, "depth");

  const Tensor d_image =
      Tensor::from_host<float>(*backend, {height, width, 3}, channels_last(file.floats("upstream.image")));
  const Tensor d_means = gradient({count, 3}), d_scales = gradient({count, 3}),
               d_rotations = gradient({count, 4});
  const Tensor d_covariances = gradient({count, 6}), d_opacities = gradient({count}),
               d_colors = gradient({count, 3});
  const Tensor d_means_ndc = gradient({count, 2});
  RasterizeBackward backward;
  backward.forward = forward;
  backward.d_image = d_image.data();
  backward.d_means = d_means.data();
  backward.d_scales = d_scales.data();
  backward.d_rotations = d_rotations.data();
  backward.d_covariances = d_covariances.data();
  backward.d_opacities = d_opacities.data();
  backward.d_colors = d_colors.data();
  backward.d_means_ndc = d_means_ndc.data();
  backend->run(backward);

  if (has("in.shs")) {
    const Tensor d_dc = gradient({count, 3}), d_rest = gradient({count, 15, 3});
    sh.d_colors = d_colors.data();
    sh.d_positions = d_means.data();
    sh.d_sh_dc = d_dc.data();
    sh.d_sh_rest = d_rest.data();
    backend->run(ShColorBackward{sh});
    const std::vector<float> want = file.floats("grad.shs");
    expect_gradient(d_dc.to_host(), columns(want, 48, 0, 3), skip, spread("shs"), "sh_dc");
    expect_gradient(d_rest.to_host(), columns(want, 48, 3, 45), skip, spread("shs"), "sh_rest");
  }
  const std::tuple<const char*, const Tensor*> pairs[] = {
      {"means3D", &d_means},     {"scales", &d_scales},     {"rotations", &d_rotations},
      {"cov3D", &d_covariances}, {"opacity", &d_opacities}, {"colors", &d_colors}};
  for (const auto& [name, tensor] : pairs) {
    if (has(std::string("grad.") + name))
      expect_gradient(tensor->to_host(), file.floats(std::string("grad.") + name), skip, spread(name), name);
  }
  expect_gradient(d_means_ndc.to_host(), columns(file.floats("grad.means2D"), 3, 0, 2), skip,
                  spread("means2D"), "means2D");
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(RasterizerGolden);
INSTANTIATE_TEST_SUITE_P(Cases, RasterizerGolden, testing::ValuesIn(golden_raster_cases()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace eg4d::test
