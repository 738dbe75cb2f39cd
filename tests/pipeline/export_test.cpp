#include "pipeline/export.h"

#include <gtest/gtest.h>

#include <cmath>

#include "backend/backend.h"
#include "io/ply_writer.h"
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
  const ExportResult result = export_model(*backend_, job_, quiet_);
  const auto& files = result.files;
  ASSERT_EQ(files.size(), 2u);
  EXPECT_EQ(result.removed, 3) << "of the longer sequence before";
  EXPECT_GT(*result.psnr, 30) << "what harmonics differ that are looked up from where the Gaussians went";
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
  EXPECT_EQ(splat::splat_format("ply").up, UpAxis::minus_y) << "what viewers expect";
  EXPECT_EQ(ExportJob().up, UpAxis::automatic);
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

// Every format that is read: what export tells of it, and what open_model makes of it.
TEST_P(Export, AFileLooksLikeTheModelAndOpensAsIt) {
  const Model model = test::tiny_model(*backend_, 120, 1);
  save(model);
  job_.time = 0.6;
  job_.up = UpAxis::automatic;
  // What eight bits of colour cost; viewers of `.splat` have no harmonics.
  const std::pair<const char*, double> least[] = {
      {"ply", 45}, {"compressed-ply", 38}, {"splat", 20}, {"spz", 38}, {"sog", 38}};
  for (const auto& [key, psnr] : least) {
    job_.output = folder_ / (std::string("object") + splat::splat_format(key).extension);
    const ExportResult result = export_model(*backend_, job_, quiet_);
    ASSERT_TRUE(result.psnr) << key;
    EXPECT_GE(*result.psnr, psnr) << key;
    EXPECT_EQ(result.gaussians, 120);
    const Model opened = open_model(*backend_, job_.output);
    EXPECT_FALSE(opened.info.deforms);
    EXPECT_EQ(opened.gaussians.active_sh_degree, key == std::string("splat") ? 0 : 1);
    EXPECT_NEAR(opened.info.camera_radius, 4.4, 0.1) << "from where all of it is seen";
    const auto error = test::relative_error(render(opened, nullptr, 0), render(model, &model.field, 0.6f));
    EXPECT_LT(error, key == std::string("splat") ? 0.2 : 0.03) << key;
  }
  // Said to lie elsewhere, it lies elsewhere.
  const Model turned = open_model(*backend_, job_.output, {.up = UpAxis::z});
  EXPECT_GT(test::relative_error(render(turned, nullptr, 0), render(model, &model.field, 0.6f)), 0.05);
  EXPECT_ERROR(open_model(*backend_, job_.model, {.up = UpAxis::z}),
               "--model-up is for files of plain Gaussians");
}

TEST_P(Export, EveryOtherFormatIsWritten) {
  save(test::tiny_model(*backend_, 40, 3));
  for (const splat::SplatFormat& format : splat::splat_formats()) {
    if (format.decode) continue;
    job_.output = folder_ / (std::string("object") + format.extension);
    const ExportResult result = export_model(*backend_, job_, quiet_);
    EXPECT_FALSE(result.psnr) << format.title;
    EXPECT_GT(std::filesystem::file_size(job_.output), 1000u) << format.title;
    EXPECT_EQ(result.fit_error > 0, format.key == std::string("splatv"));
  }
  job_.output = folder_ / "spz";
  job_.format = static_cast<ExportFormat>(&splat::splat_format("spz") - splat::splat_formats().data());
  job_.frames = 3;
  const ExportResult result = export_model(*backend_, job_, quiet_);
  ASSERT_EQ(result.files.size(), 3u);
  EXPECT_EQ(result.files[2].filename(), "frame_0002.spz");
  EXPECT_GT(*result.psnr, 30);
}

TEST_P(Export, WhatIsKeptIsTheUsers) {
  Model model = test::tiny_model(*backend_, 100, 3);
  model.info.deforms = false;
  save(model);
  const GaussianCloud whole = cloud_at(*backend_, model, 0);
  job_.scale = 2.5;
  job_.sh_degree = 1;
  job_.min_opacity = 0.5;
  const ExportResult result = export_model(*backend_, job_, quiet_);
  const GaussianCloud cloud = read_gaussian_ply(job_.output);
  EXPECT_EQ(sh_degree_of(cloud), 1);
  EXPECT_EQ(result.gaussians, cloud.count());
  EXPECT_EQ(result.gaussians + result.pruned, 100);
  EXPECT_GT(result.pruned, 10);
  size_t row = 0;
  for (size_t i = 0; i < 100; ++i) {
    if (whole.opacity_logits[i] < 0) continue;
    ASSERT_LT(row, static_cast<size_t>(cloud.count()));
    EXPECT_FLOAT_EQ(cloud.positions[3 * row], 2.5f * whole.positions[3 * i]);
    EXPECT_NEAR(cloud.log_scales[3 * row + 1], whole.log_scales[3 * i + 1] + std::log(2.5f), 1e-5);
    EXPECT_EQ(cloud.sh_rest[45 * row + 8], whole.sh_rest[45 * i + 8]);
    ++row;
  }
  job_.min_opacity = 1;
  EXPECT_ERROR(export_model(*backend_, job_, quiet_), "nothing is left to write");
  job_.min_opacity = 0;
  job_.sh_degree = 3;
  EXPECT_GT(*export_model(*backend_, job_, quiet_).psnr, 80) << "of another size, and still the same";
}

EG4D_ON_EACH_DEVICE(Export);

}  // namespace
}  // namespace eg4d
