// The GPU's rasteriser against the reference implementation, on every case of the `rasterizer` fixture.

#include <gtest/gtest.h>

#include "backend/cpu/splat_kernels.h"
#include "cuda/support/cuda_raster.h"
#include "support/golden_raster.h"

namespace eg4d::test {
namespace {

class CudaRasterizerGolden : public testing::TestWithParam<std::string> {
 protected:
  std::vector<float> floats(const std::string& name) const {
    return file.contains(name) ? file.floats(name) : std::vector<float>();
  }
  double spread(const std::string& name) const {
    return settings["grad_run_to_run_max_abs"].value(name, 0.0);
  }
  RasterScene<float> scene() const {
    RasterScene<float> scene;
    scene.camera = golden_raster_camera(settings, file);
    scene.count = file.at("in.means3D").shape.at(0);
    scene.means = floats("in.means3D");
    scene.scales = floats("in.scales");
    scene.rotations = floats("in.rotations");
    scene.covariances = floats("in.cov3D");
    scene.opacities = floats("in.opacity");
    scene.colors = floats("in.colors");
    if (scene.colors.empty()) scene.colors = sh_colors(scene);
    return scene;
  }
  std::vector<float> sh_colors(const RasterScene<float>& scene) const {
    const std::vector<float> dc = columns(floats("in.shs"), 48, 0, 3),
                             rest = columns(floats("in.shs"), 48, 3, 45);
    std::vector<float> colors(dc.size());
    ShColor sh;
    sh.count = scene.count;
    sh.degree = settings["sh_degree"];
    sh.positions = scene.means.data();
    std::ranges::copy(file.floats("cam.camera_center"), sh.camera_center);
    sh.sh_dc = dc.data();
    sh.sh_rest = rest.data();
    sh.colors = colors.data();
    cpu::sh_color_forward(sh);
    return colors;
  }

  nlohmann::json settings = golden_json("rasterizer/config.json")["cases"][GetParam()];
  SafetensorsFile file = golden_tensors("rasterizer/" + GetParam() + ".safetensors");
};

TEST_P(CudaRasterizerGolden, ForwardAndGradients) {
  EG4D_NEEDS_GPU();
  CudaRaster kernels(scene());
  kernels.forward();
  const int32_t* radii = reinterpret_cast<const int32_t*>(file.at("out.radii").data);
  EXPECT_EQ(kernels.radii.to_host(), std::vector<int32_t>(radii, radii + kernels.arguments.count));
  const std::vector<bool> skip = covering_gaussians(
      file, expect_image(kernels.image.to_host(), channels_last(file.floats("out.image")), 3, "image"));
  expect_image(kernels.depth.to_host(), file.floats("out.depth"), 1, "depth");

  kernels.backward(channels_last(file.floats("upstream.image")));
  const RasterGradients<float> d = kernels.gradients();
  // With SH the gradient of the means also flows through the direction, which is not the rasteriser's.
  std::vector<std::pair<std::string, const std::vector<float>*>> pairs = {{"scales", &d.scales},
                                                                          {"rotations", &d.rotations},
                                                                          {"cov3D", &d.covariances},
                                                                          {"opacity", &d.opacities},
                                                                          {"colors", &d.colors}};
  if (!file.contains("in.shs")) pairs.emplace_back("means3D", &d.means);
  for (const auto& [name, got] : pairs) {
    if (file.contains("grad." + name))
      expect_gradient(*got, file.floats("grad." + name), skip, spread(name), name.c_str());
  }
  expect_gradient(d.means_ndc, columns(file.floats("grad.means2D"), 3, 0, 2), skip, spread("means2D"),
                  "means2D");
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CudaRasterizerGolden);
INSTANTIATE_TEST_SUITE_P(Cases, CudaRasterizerGolden, testing::ValuesIn(golden_raster_cases()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace eg4d::test
