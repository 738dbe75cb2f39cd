#include "support/golden_raster.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace eg4d::test {
namespace {

double largest(const std::vector<float>& values) {
  double most = 0;
  for (const float value : values) most = std::max(most, std::abs(static_cast<double>(value)));
  return most;
}

bool verbose() {
  return std::getenv("EG4D_TEST_VERBOSE") != nullptr;
}

}  // namespace

std::vector<std::string> golden_raster_cases() {
  std::vector<std::string> names;
  if (!golden_has("rasterizer/config.json")) return names;
  const nlohmann::json config = golden_json("rasterizer/config.json");
  for (const auto& [name, unused] : config["cases"].items()) names.push_back(name);
  return names;
}

RasterizeCamera golden_raster_camera(const nlohmann::json& settings, const SafetensorsFile& file) {
  RasterizeCamera camera;
  camera.width = static_cast<int>(file.at("out.image").shape.at(2));
  camera.height = static_cast<int>(file.at("out.image").shape.at(1));
  camera.tan_fov_x = settings["tanfovx"];
  camera.tan_fov_y = settings["tanfovy"];
  camera.scale_modifier = settings["scale_modifier"];
  std::ranges::copy(file.floats("cam.world_view_transform"), camera.world_to_view);
  std::ranges::copy(file.floats("cam.full_proj_transform"), camera.full_projection);
  std::ranges::copy(file.floats("bg"), camera.background);
  return camera;
}

std::vector<bool> covering_gaussians(const SafetensorsFile& file, const std::vector<size_t>& pixels) {
  const int64_t count = file.at("in.means3D").shape.at(0), height = file.at("out.image").shape.at(1),
                width = file.at("out.image").shape.at(2);
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

std::vector<float> channels_last(const std::vector<float>& planes) {
  const size_t pixels = planes.size() / 3;
  std::vector<float> image(planes.size());
  for (size_t i = 0; i < pixels; ++i)
    for (size_t channel = 0; channel < 3; ++channel) image[3 * i + channel] = planes[channel * pixels + i];
  return image;
}

std::vector<float> columns(const std::vector<float>& rows, size_t width, size_t from, size_t take) {
  std::vector<float> out;
  for (size_t row = 0; row < rows.size() / width; ++row)
    out.insert(out.end(), rows.begin() + row * width + from, rows.begin() + row * width + from + take);
  return out;
}

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

}  // namespace eg4d::test
