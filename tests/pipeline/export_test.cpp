#include "pipeline/export.h"

#include <gtest/gtest.h>

#include <cmath>

#include "backend/backend.h"
#include "scene/camera.h"
#include "splat/cloud_rotation.h"
#include "splat/evaluation.h"
#include "splat/gaussian_cloud.h"
#include "support/device_fixture.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/temporary_folder.h"
#include "support/tiny_model.h"

namespace eg4d {
namespace {

class Export : public test::OnEachDevice {
 protected:
  // The pixels of a model at a time; without a field the Gaussians are shown as any viewer does.
  std::vector<float> render(const Model& model, const DeformationField* field, float time,
                            const Matrix4& turn = Matrix4::identity()) {
    Intrinsics intrinsics;
    intrinsics.fov_x = kOrbitFovX;
    const Camera camera = make_camera(turn * orbit_camera_to_world(20, 10, kOrbitRadius), 48, 40, intrinsics);
    Renderer renderer(*backend_, render_options(model.info.options));
    renderer.deform(model.gaussians, field, time, color_time(model.info.options, time), false);
    return renderer.render(camera).image.to_host();
  }
  void save(const Model& model) { save_model(job_.model, model.info, model.gaussians, model.active_field()); }

  test::TemporaryFolder folder_;
  std::unique_ptr<Backend> backend_ = test::make_test_backend();
  ExportJob job_{.model = folder_ / "model.safetensors", .output = folder_ / "object.ply", .up = UpAxis::z};
  Progress quiet_;
};

TEST_P(Export, APlyShowsTheSamePictureAsTheModelAtThatTime) {
  // Degree 0: colours do not depend on the direction, which viewers take from the deformed position.
  const Model model = test::tiny_model(*backend_, 80, 0);
  save(model);
  for (const float time : {0.0f, 0.6f}) {
    job_.time = time;
    ASSERT_EQ(export_model(*backend_, job_, quiet_).files, std::vector<std::filesystem::path>{job_.output});
    Model shown;
    shown.info.options = model.info.options;
    shown.gaussians = from_cloud(*backend_, read_gaussian_ply(job_.output));
    EXPECT_LT(test::relative_error(render(shown, nullptr, 0), render(model, &model.field, time)), 1e-4);
  }
  EXPECT_GT(test::relative_error(render(model, &model.field, 0.6f), render(model, &model.field, 0)), 1e-3);
}

TEST_P(Export, ColoursAreReadWhenTheUserSays) {
  const Model model = test::tiny_model(*backend_, 10, 3);
  save(model);
  job_.time = 0.6;
  const auto exported = [&](const char* color_time) {
    set_color_time(job_.choice, color_time);
    export_model(*backend_, job_, quiet_);
    return read_gaussian_ply(job_.output);
  };
  const GaussianCloud reference = exported(""), own = exported("own");
  EXPECT_EQ(reference.positions, own.positions);
  EXPECT_NE(reference.sh_dc, own.sh_dc);
  EXPECT_EQ(exported("0.6").sh_dc, own.sh_dc);
}

TEST_P(Export, TheColorAffineIsBakedIntoEveryHarmonic) {
  Model model = test::tiny_model(*backend_, 10, 3);
  const GaussianCloud cloud = cloud_at(*backend_, model, 0.3f);
  const GaussianCloud canonical = to_cloud(model.gaussians);
  Renderer renderer(*backend_, render_options(model.info.options));
  renderer.deform(model.gaussians, &model.field, 0.3f, color_time(model.info.options, 0.3f), false);
  const std::vector<float> gain_bias = renderer.deformed().gain_bias.to_host();
  for (size_t i = 0; i < 10; ++i) {
    const float gain = gain_bias[4 * i], bias = gain_bias[4 * i + 2];
    EXPECT_NEAR(cloud.sh_rest[45 * i + 7], canonical.sh_rest[45 * i + 7] * (1 + gain), 1e-6);
    EXPECT_NEAR(kSh0 * cloud.sh_dc[3 * i + 1], kSh0 * canonical.sh_dc[3 * i + 1] * (1 + gain) + bias, 1e-6);
  }
}

TEST_P(Export, HarmonicsAboveTheActiveDegreeAreZero) {
  const Model model = test::tiny_model(*backend_, 5, 1);
  const GaussianCloud cloud = cloud_at(*backend_, model, 0);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_NE(cloud.sh_rest[45 * i + 8], 0);
    for (size_t k = 9; k < 45; ++k) EXPECT_EQ(cloud.sh_rest[45 * i + k], 0);
  }
}

TEST_P(Export, ASequenceHasOneFilePerTimeStep) {
  const Model model = test::tiny_model(*backend_, 20, 3);
  save(model);
  job_.output = folder_ / "sequence";
  EXPECT_EQ(export_model(*backend_, job_, quiet_).files.size(), 5u);
  job_.frames = 2;
  const auto [files, removed] = export_model(*backend_, job_, quiet_);
  ASSERT_EQ(files.size(), 2u);
  EXPECT_EQ(removed, 3) << "of the longer sequence before";
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(job_.output), {}), 2);
  EXPECT_EQ(read_gaussian_ply(files[1]).positions, cloud_at(*backend_, model, 1).positions);
}

// Shown by a camera that is turned along, the turned object is the same to all harmonics.
TEST_P(Export, UpIsWhereItIsAskedFor) {
  Model model = test::tiny_model(*backend_, 80, 3);
  model.info.deforms = false;
  save(model);
  const std::vector<float> picture = render(model, nullptr, 0);
  const Matrix4 y_up{{1, 0, 0, 0, 0, 0, 1, 0, 0, -1, 0, 0, 0, 0, 0, 1}};
  const Matrix4 y_down{{1, 0, 0, 0, 0, 0, -1, 0, 0, 1, 0, 0, 0, 0, 0, 1}};
  EXPECT_EQ(ExportJob().up, UpAxis::minus_y) << "what viewers expect";
  for (const auto& [up, turn] : {std::pair(UpAxis::z, Matrix4::identity()), std::pair(UpAxis::y, y_up),
                                 std::pair(UpAxis::minus_y, y_down)}) {
    job_.up = up;
    export_model(*backend_, job_, quiet_);
    Model shown;
    shown.info.options = model.info.options;
    shown.gaussians = from_cloud(*backend_, read_gaussian_ply(job_.output));
    EXPECT_LT(test::relative_error(render(shown, nullptr, 0, turn), picture), 1e-5);
    if (up == UpAxis::z) continue;
    EXPECT_GT(test::relative_error(render(shown, nullptr, 0), picture), 1e-2);
  }
}

TEST_P(Export, ATurnAndItsOppositeCancelOut) {
  const GaussianCloud before = to_cloud(test::tiny_model(*backend_, 30, 3).gaussians);
  GaussianCloud cloud = before;
  rotate_cloud(cloud, {0.6, 0, 0.8}, 37);
  EXPECT_GT(test::relative_error(cloud.sh_rest, before.sh_rest), 0.1);
  rotate_cloud(cloud, {0.6, 0, 0.8}, -37);
  EXPECT_LT(test::relative_error(cloud.positions, before.positions), 1e-6);
  EXPECT_LT(test::relative_error(cloud.quaternions, before.quaternions), 1e-6);
  EXPECT_LT(test::relative_error(cloud.sh_rest, before.sh_rest), 1e-6);
}

TEST_P(Export, OddModels) {
  save(test::tiny_model(*backend_, 1, 3));
  EXPECT_EQ(export_model(*backend_, job_, quiet_).files.size(), 1u);
  Model flat = test::tiny_model(*backend_, 4, 3);
  flat.info.options.gaussian.flat = true;
  flat.info.deforms = false;
  save(flat);
  export_model(*backend_, job_, quiet_);
  for (const float scale : read_gaussian_ply(job_.output).log_scales) EXPECT_TRUE(std::isfinite(scale));
}

EG4D_ON_EACH_DEVICE(Export);

}  // namespace
}  // namespace eg4d
