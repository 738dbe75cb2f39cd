// sh_color_forward and sh_color_backward against the plain reference in double, on every instruction set.

#include <gtest/gtest.h>

#include "core/random.h"
#include "nn/tensor.h"
#include "support/device_fixture.h"
#include "support/golden.h"
#include "support/reference_sh_color.h"

namespace eg4d::test {
namespace {

std::vector<float> normals(Philox& random, size_t count, float scale) {
  std::vector<float> values(count);
  for (float& value : values) value = scale * random.normal();
  return values;
}

std::vector<double> doubles(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

class ShColors : public OnEachDevice {
 protected:
  void expect_like_reference(int64_t count, int degree, bool with_gain_bias) {
    SCOPED_TRACE(testing::Message() << count << " Gaussians, degree " << degree);
    const size_t n = static_cast<size_t>(count);
    Philox random(17);
    const auto backend = make_test_backend({.guard_memory = true});
    const auto upload = [&](const std::vector<float>& values) {
      return Tensor::from_host(*backend, {static_cast<int64_t>(values.size())}, values);
    };
    std::vector<float> positions = normals(random, 3 * n, 1), dc = normals(random, 3 * n, 0.5f),
                       rest = normals(random, 45 * n, 0.2f), gain_bias = normals(random, 4 * n, 0.3f),
                       d_colors = normals(random, 3 * n, 1);
    if (n > 2) positions[6] = positions[7] = 0, positions[8] = -3;  // at the camera
    ShScene<double> scene{count, degree, {0, 0, -3}, doubles(positions), doubles(dc), doubles(rest), {}};
    if (with_gain_bias) scene.gain_bias = doubles(gain_bias);

    const Tensor t_positions = upload(positions), t_dc = upload(dc), t_rest = upload(rest),
                 t_gain_bias = upload(gain_bias), t_d_colors = upload(d_colors),
                 t_center = upload({0, 0, -3});
    const Tensor colors = Tensor::zeros(*backend, {count, 3}),
                 d_positions = Tensor::zeros(*backend, {count, 3});
    const Tensor d_dc = Tensor::zeros(*backend, {count, 3}), d_rest = Tensor::zeros(*backend, {count, 45});
    const Tensor d_gain_bias = Tensor::zeros(*backend, {count, 4});
    ShColor a;
    a.count = count;
    a.degree = degree;
    a.positions = t_positions.data();
    a.camera_center = t_center.data();
    a.sh_dc = t_dc.data();
    a.sh_rest = t_rest.data();
    if (with_gain_bias) a.gain_bias = t_gain_bias.data();
    a.colors = colors.data();
    backend->run(a);
    const std::vector<double> want_colors = reference_sh_color(scene);
    expect_close(colors, want_colors, "colors");

    ShColorBackward b;
    b.forward = a;
    b.d_colors = t_d_colors.data();
    b.d_positions = d_positions.data();
    b.d_sh_dc = d_dc.data();
    b.d_sh_rest = d_rest.data();
    b.d_gain_bias = d_gain_bias.data();
    backend->run(b);
    const ShGradients<double> want = reference_sh_color_backward(scene, want_colors, doubles(d_colors));
    expect_close(d_positions, want.positions, "d_positions");
    expect_close(d_dc, want.sh_dc, "d_sh_dc");
    expect_close(d_rest, want.sh_rest, "d_sh_rest");
    if (with_gain_bias) expect_close(d_gain_bias, want.gain_bias, "d_gain_bias");

    // Gradients are added to, and null ones skipped.
    b.d_positions = b.d_sh_dc = b.d_gain_bias = nullptr;
    backend->run(b);
    std::vector<double> twice = want.sh_rest;
    for (double& value : twice) value *= 2;
    expect_close(d_rest, twice, "d_sh_rest, twice");
  }

  static void expect_close(const Tensor& got, const std::vector<double>& want, const char* what) {
    EXPECT_LE(relative_error(got.to_host(), {want.begin(), want.end()}), 1e-5) << what;
  }
};

TEST_P(ShColors, AreThoseOfTheReference) {
  for (int degree = 0; degree < 4; ++degree) {
    expect_like_reference(70, degree, true);
    expect_like_reference(33, degree, false);
  }
}

TEST_P(ShColors, AnyNumberOfGaussians) {
  for (const int64_t count : {0, 1, 2, 7, 16, 17}) expect_like_reference(count, 3, true);
}

INSTANTIATE_TEST_SUITE_P(, ShColors, testing::ValuesIn(test_devices_by_instruction_set()), DeviceLabel());

}  // namespace
}  // namespace eg4d::test
