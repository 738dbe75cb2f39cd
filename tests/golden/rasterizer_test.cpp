#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "nn/tensor.h"
#include "support/covariances.h"
#include "support/device_fixture.h"
#include "support/device_value.h"
#include "support/golden.h"

// The rasteriser and the SH colour against the reference implementation on every case of the `rasterizer`
// fixture.
namespace eg4d::test {
namespace {

std::vector<std::string> case_names() {
  std::vector<std::string> names;
  if (!golden_has("rasterizer/config.json")) return names;
  const nlohmann::json config = golden_json("rasterizer/config.json");
  for (const auto& [name, unused] : config["cases"].items()) names.push_back(name);
  return names;
}

// [3,H,W] → [H,W,3].
std::vector<float> channels_last(const std::vector<float>& planes) {
  const size_t pixels = planes.size() / 3;
  std::vector<float> image(planes.size());
  for (size_t i = 0; i < pixels; ++i)
    for (size_t channel = 0; channel < 3; ++channel) image[3 * i + channel] = planes[channel * pixels + i];
  return image;
}

// The first `take` columns of rows of `width` starting at column `from`.
std::vector<float> columns(const std::vector<float>& rows, size_t width, size_t from, size_t take) {
  std::vector<float> out;
  for (size_t row = 0; row < rows.size() / width; ++row)
    out.insert(out.end(), rows.begin() + row * width + from, rows.begin() + row * width + from + take);
  return out;
}

double largest(const std::vector<float>& values) {
  double most = 0;
  for (const float value : values) most = std::max(most, std::abs(static_cast<double>(value)));
  return most;
}

bool verbose() {
  return std::getenv("EG4D_TEST_VERBOSE") != nullptr;
}

// Every pixel within 1e-4 of the image's largest value, but for isolated ones where rounding flipped a
// threshold; those are returned.
std::vector<size_t> expect_image(const std::vector<float>& got, std::vector<float> want, size_t channels,
                                 const char* what) {
  EXPECT_EQ(got.size(), want.size());
  const double limit = 1e-4 * largest(want);
  std::vector<float> kept = got;
  std::vector<size_t> outliers;
  const size_t pixels = want.size() / channels;
  for (size_t pixel = 0; pixel < pixels; ++pixel) {
    bool close = true;
    for (size_t i = pixel * channels; i < (pixel + 1) * channels; ++i)
      close &= std::abs(got[i] - want[i]) <= limit;
    if (close) continue;
    outliers.push_back(pixel);
    for (size_t i = pixel * channels; i < (pixel + 1) * channels; ++i) kept[i] = want[i] = 0;
  }
  EXPECT_LE(outliers.size(), std::max<size_t>(1, pixels / 5000)) << what;
  EXPECT_LE(relative_error(kept, want), 1e-5) << what;
  if (verbose())
    printf("%-9s relative error %.1e, %zu outliers\n", what, relative_error(kept, want), outliers.size());
  return outliers;
}

// Rows that `skip` does not mark: within 1e-3 as a whole, and per element within 1e-2 of the element beyond
// `spread`, the reference's own run-to-run difference; isolated elements may differ more.
void expect_gradient(std::vector<float> got, std::vector<float> want, const std::vector<bool>& skip,
                     double spread, const char* what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  const size_t width = got.size() / skip.size();
  for (size_t i = 0; i < got.size(); ++i)
    if (skip[i / width]) got[i] = want[i] = 0;
  EXPECT_LE(relative_error(got, want), 1e-3) << what;
  size_t wrong = 0;
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error =
        std::abs(static_cast<double>(got[i]) - want[i]) / (std::abs(want[i]) + 100 * spread + 1e-12);
    worst = std::max(worst, error);
    if (!(error <= 1e-2)) ++wrong;
  }
  EXPECT_LE(wrong, want.size() / 1000) << what;
  if (verbose())
    printf("%-9s relative error %.1e, worst element %.1e\n", what, relative_error(got, want), worst);
}

class RasterizerGolden : public OnEachDeviceWith<std::string> {
 protected:
  RasterizerGolden()
      : settings(golden_json("rasterizer/config.json")["cases"][parameter()]),
        file(golden_tensors("rasterizer/" + parameter() + ".safetensors")),
        backend(make_test_backend({.guard_memory = true})) {
    count = file.at("in.means3D").shape.at(0);
    height = file.at("out.image").shape.at(1);
    width = file.at("out.image").shape.at(2);
  }

  // Scales and rotations, which some cases give as covariances. The reference's scale modifier multiplies
  // scales, and it gives the gradients of the products.
  Decomposition shapes() const {
    if (has("in.cov3D")) return decompose_covariances(file.floats("in.cov3D"));
    Decomposition shapes{file.floats("in.scales"), file.floats("in.rotations")};
    for (float& scale : shapes.scales) scale *= settings["scale_modifier"].get<float>();
    return shapes;
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

  // Marks the Gaussians that may cover one of the pixels.
  std::vector<bool> covering(const std::vector<size_t>& pixels) const {
    std::vector<bool> marked(static_cast<size_t>(count));
    const std::vector<float> means = file.floats("in.means3D"),
                             projection = file.floats("cam.full_proj_transform");
    const auto* radii = reinterpret_cast<const int32_t*>(file.at("out.radii").data);
    for (size_t i = 0; i < marked.size(); ++i) {
      double clip[4];
      for (size_t k = 0; k < 4; ++k) {
        clip[k] = projection[12 + k];
        for (size_t axis = 0; axis < 3; ++axis) clip[k] += means[3 * i + axis] * projection[4 * axis + k];
      }
      const double x = ((clip[0] / clip[3] + 1) * width - 1) / 2,
                   y = ((clip[1] / clip[3] + 1) * height - 1) / 2;
      const double reach = 1.2 * radii[i] + 1;  // alpha falls to 1/255 at 3.33 standard deviations at most
      for (const size_t pixel : pixels) {
        if (radii[i] > 0 && std::abs(x - pixel % width) <= reach && std::abs(y - pixel / width) <= reach)
          marked[i] = true;
      }
    }
    return marked;
  }

  RasterizeCamera camera() const {
    RasterizeCamera camera;
    camera.tan_fov_x = settings["tanfovx"];
    camera.tan_fov_y = settings["tanfovy"];
    std::ranges::copy(file.floats("cam.world_view_transform"), camera.world_to_view);
    std::ranges::copy(file.floats("cam.full_proj_transform"), camera.full_projection);
    std::ranges::copy(file.floats("cam.camera_center"), camera.center);
    std::ranges::copy(file.floats("bg"), camera.background);
    return camera;
  }

  nlohmann::json settings;
  SafetensorsFile file;
  std::unique_ptr<Backend> backend;
  int64_t count = 0, width = 0, height = 0;
};

TEST_P(RasterizerGolden, ForwardAndGradients) {
  const Tensor means = input("in.means3D"), opacity = input("in.opacity");
  const Decomposition shape = shapes();
  const Tensor scales = Tensor::from_host(*backend, {count, 3}, shape.scales),
               rotations = Tensor::from_host(*backend, {count, 4}, shape.rotations);
  const DeviceValue<RasterizeCamera> device_camera(*backend, camera());
  const Tensor colors = has("in.colors") ? input("in.colors") : Tensor::empty(*backend, {count, 3});

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
    sh.camera_center = device_camera.data()->center;
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
  forward.camera = device_camera.data();
  forward.width = static_cast<int>(width);
  forward.height = static_cast<int>(height);
  forward.count = count;
  forward.means = means.data();
  forward.scales = scales.data();
  forward.rotations = rotations.data();
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
  const std::vector<bool> skip =
      covering(expect_image(image.to_host(), channels_last(file.floats("out.image")), 3, "image"));
  expect_image(depth.to_host(), file.floats("out.depth"), 1, "depth");

  const Tensor d_image =
      Tensor::from_host<float>(*backend, {height, width, 3}, channels_last(file.floats("upstream.image")));
  const Tensor d_means = gradient({count, 3}), d_scales = gradient({count, 3}),
               d_rotations = gradient({count, 4});
  const Tensor d_opacities = gradient({count}), d_colors = gradient({count, 3});
  const Tensor d_means_ndc = gradient({count, 2});
  RasterizeBackward backward;
  backward.forward = forward;
  backward.d_image = d_image.data();
  backward.d_means = d_means.data();
  backward.d_scales = d_scales.data();
  backward.d_rotations = d_rotations.data();
  backward.d_opacities = d_opacities.data();
  backward.d_colors = d_colors.data();
  backward.d_means_ndc = d_means_ndc.data();
  backend->run(backward);

  if (has("in.shs")) {
    const Tensor d_dc = gradient({count, 3}), d_rest = gradient({count, 15, 3});
    ShColorBackward sh_backward;
    sh_backward.forward = sh;
    sh_backward.d_colors = d_colors.data();
    sh_backward.d_positions = d_means.data();
    sh_backward.d_sh_dc = d_dc.data();
    sh_backward.d_sh_rest = d_rest.data();
    backend->run(sh_backward);
    const std::vector<float> want = file.floats("grad.shs");
    expect_gradient(d_dc.to_host(), columns(want, 48, 0, 3), skip, spread("shs"), "sh_dc");
    expect_gradient(d_rest.to_host(), columns(want, 48, 3, 45), skip, spread("shs"), "sh_rest");
  }
  const std::tuple<const char*, const Tensor*> pairs[] = {{"means3D", &d_means},
                                                          {"scales", &d_scales},
                                                          {"rotations", &d_rotations},
                                                          {"opacity", &d_opacities},
                                                          {"colors", &d_colors}};
  for (const auto& [name, tensor] : pairs) {
    if (has(std::string("grad.") + name))
      expect_gradient(tensor->to_host(), file.floats(std::string("grad.") + name), skip, spread(name), name);
  }
  if (has("grad.cov3D")) {
    const Decomposition want = covariances_backward(shape, file.floats("grad.cov3D"));
    expect_gradient(d_scales.to_host(), want.scales, skip, 0, "cov3D, scales");
    expect_gradient(d_rotations.to_host(), want.rotations, skip, 0, "cov3D, rotations");
  }
  expect_gradient(d_means_ndc.to_host(), columns(file.floats("grad.means2D"), 3, 0, 2), skip,
                  spread("means2D"), "means2D");
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(RasterizerGolden);
INSTANTIATE_TEST_SUITE_P(Cases, RasterizerGolden, testing::Combine(testing::ValuesIn(test_devices()), testing::ValuesIn(case_names())),
                         device_label_and([](const std::string& name) { return name; }));

}  // namespace
}  // namespace eg4d::test
