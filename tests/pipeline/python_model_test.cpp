#include "pipeline/python_model.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "backend/backend.h"
#include "io/torch_checkpoint.h"
#include "pipeline/info.h"
#include "pipeline/open_model.h"
#include "pipeline/python_training.h"
#include "scene/camera.h"
#include "splat/evaluation.h"
#include "splat/gaussian_cloud.h"
#include "splat/reference_format.h"
#include "support/device_fixture.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/python_checkpoint.h"
#include "support/temporary_folder.h"
#include "support/tiny_model.h"

namespace eg4d {
namespace {

class PythonModel : public test::OnEachDevice {
 protected:
  std::vector<float> render(const Model& model, float time) {
    Intrinsics intrinsics;
    intrinsics.fov_x = kOrbitFovX;
    const Camera camera = make_camera(orbit_camera_to_world(20, 10, kOrbitRadius), 48, 40, intrinsics);
    Renderer renderer(*backend_, render_options(model.info.options));
    renderer.deform(model.gaussians, model.active_field(), time, color_time(model.info.options, time), false);
    return renderer.render(camera).image.to_host();
  }
  void expect_same_pictures(const Model& a, const Model& b, double tolerance) {
    for (const float time : {0.0f, 0.35f, 1.0f}) {
      EXPECT_LE(test::relative_error(render(a, time), render(b, time)), tolerance) << time;
    }
  }

  static TorchValue checkpoint(const Model& model, int iteration) {
    return test::PythonCheckpoint(model, iteration).value();
  }

  test::TemporaryFolder folder_;
  std::unique_ptr<Backend> backend_ = test::make_test_backend();
};

TEST_P(PythonModel, WrittenAndReadBackShowsTheSame) {
  const Model model = test::tiny_model(*backend_, 40, 3);
  const auto files = write_python_model(model, folder_ / "model");
  ASSERT_EQ(files.size(), 3u);
  EXPECT_EQ(files[1], folder_ / "model/point_cloud/iteration_77/deformation.pth");
  for (const std::filesystem::path& named : {folder_ / "model", files[0].parent_path(), files[0]}) {
    const Model read = open_model(*backend_, named);
    EXPECT_EQ(read.info.iterations, 77);
    EXPECT_TRUE(read.info.deforms);
    expect_same_pictures(read, model, 0);
  }
}

TEST_P(PythonModel, AFieldLargerThanItsTensorsIsRefused) {
  const Model model = test::tiny_model(*backend_, 40, 3);
  const StateDict whole = field_state(model.field);
  const auto refused = [&](const std::string& name, Shape shape) {
    StateDict state = whole;
    state.at(name) = {shape, std::vector<float>(static_cast<size_t>(element_count(shape)))};
    ReconstructOptions options;
    EXPECT_ERROR(field_options_from_state(state, options), "do not fit each other");
  };
  refused("deformation_net.feature_out.2.weight", {65536, 1});
  refused("deformation_net.grid.grids.0.0", {1, 16384, 1, 8});
}

TEST_P(PythonModel, AFullTimeAxisBecomesTheUpperHalfOfALongerOne) {
  Model model = test::tiny_model(*backend_, 40, 3);
  model.info.options.hexplane.full_time_axis = true;
  DeformationField field(*backend_, model.info.options);
  field.grid = model.field.grid;
  field.box = model.field.box;
  field.network = model.field.network;
  model.field = std::move(field);
  write_python_model(model, folder_ / "model");
  const Model read = open_model(*backend_, folder_ / "model");
  EXPECT_EQ(read.info.options.hexplane.time_resolution, 9);
  EXPECT_FALSE(read.info.options.hexplane.full_time_axis);
  expect_same_pictures(read, model, 1e-5);
}

TEST_P(PythonModel, CheckpointsAreRead) {
  const Model model = test::tiny_model(*backend_, 40, 2);
  write_torch_checkpoint(folder_ / "best_14000_27.5.pth", checkpoint(model, 14000));
  const Model read = open_model(*backend_, folder_ / "best_14000_27.5.pth");
  EXPECT_EQ(read.info.iterations, 14000);
  EXPECT_EQ(read.gaussians.active_sh_degree, 2);
  expect_same_pictures(read, model, 0);
  write_torch_checkpoint(folder_ / "coarse_3000.pth", checkpoint(model, 3000));
  EXPECT_FALSE(open_model(*backend_, folder_ / "coarse_3000.pth").info.deforms);

  const auto info = nlohmann::json::parse(describe_as_json(folder_ / "best_14000_27.5.pth"));
  EXPECT_EQ(info["kind"], "checkpoint (Python EG4D)");
  EXPECT_EQ(info["iteration"], 14000);
  EXPECT_EQ(info["tensors"]["0.1"], "f32 [40,3]");
}

TEST_P(PythonModel, TheLatestIterationIsTaken) {
  Model model = test::tiny_model(*backend_, 4, 3);
  for (const int iterations : {900, 10000, 2000}) {
    model.info.iterations = iterations;
    write_python_model(model, folder_ / "model");
  }
  EXPECT_EQ(open_model(*backend_, folder_ / "model").info.iterations, 10000);
  const std::string info = describe_as_text(folder_ / "model");
  EXPECT_TRUE(test::contains(info, "iteration_10000")) << info;
  EXPECT_TRUE(test::contains(info, "deformation.pth:")) << info;
}

TEST_P(PythonModel, TheBestIterationComesFirst) {
  namespace fs = std::filesystem;
  Model model = test::tiny_model(*backend_, 4, 3);
  model.info.iterations = 14000;
  write_python_model(model, folder_ / "model");
  const fs::path clouds = folder_ / "model/point_cloud";
  EXPECT_ERROR(open_model(*backend_, folder_ / "model", {.which = WhichModel::best}),
               "has no point_cloud/iteration_best");
  fs::copy(clouds / "iteration_14000", clouds / "iteration_best", fs::copy_options::recursive);
  EXPECT_EQ(model_place(folder_ / "model"), clouds / "iteration_best");
  EXPECT_EQ(model_place(folder_ / "model", WhichModel::last), clouds / "iteration_14000");
  EXPECT_ERROR(model_place(folder_ / "model", WhichModel::refined), "no place for a refined model");
  // Alone it is a model, too.
  fs::remove_all(clouds / "iteration_14000");
  EXPECT_TRUE(open_model(*backend_, folder_ / "model").info.deforms);
  EXPECT_ERROR(open_model(*backend_, folder_ / "model", {.which = WhichModel::last}), "only iteration_best");
  EXPECT_EQ(fine_iterations(open_model(*backend_, clouds / "iteration_best").info), 0);
  write_torch_checkpoint(folder_ / "best_14000_27.5.pth", checkpoint(model, 14000));
  EXPECT_EQ(fine_iterations(open_model(*backend_, folder_ / "best_14000_27.5.pth").info), 14000);
}

TEST_P(PythonModel, AnIterationIsChosenByItsNumber) {
  Model model = test::tiny_model(*backend_, 4, 3);
  for (const int iterations : {900, 10000}) {
    model.info.iterations = iterations;
    write_python_model(model, folder_ / "model");
  }
  EXPECT_EQ(open_model(*backend_, folder_ / "model", {.iteration = 900}).info.iterations, 900);
  EXPECT_ERROR(open_model(*backend_, folder_ / "model", {.iteration = 901}), "no point_cloud/iteration_901");
  EXPECT_ERROR(open_model(*backend_, folder_ / "model", {.which = WhichModel::best, .iteration = 900}),
               "give one of them");
  EXPECT_ERROR(open_model(*backend_, folder_ / "model/point_cloud/iteration_900", {.iteration = 10000}),
               "is one model");
}

TEST_P(PythonModel, ACheckpointsOptimiserIsRead) {
  const Model model = test::tiny_model(*backend_, 40, 2);
  const test::PythonCheckpoint kept(model, 14000);
  write_torch_checkpoint(folder_ / "best_14000_27.5.pth", kept.value());
  const Model read = open_model(*backend_, folder_ / "best_14000_27.5.pth");
  EXPECT_DOUBLE_EQ(read.info.extent, 4.6);
  const auto start = read_python_training(*backend_, folder_ / "best_14000_27.5.pth", read);
  ASSERT_TRUE(start);
  EXPECT_EQ(start->iteration, 14000);
  EXPECT_EQ(start->steps, (std::array<int64_t, 6>{11, 14, 15, 17, 18, 16}));
  EXPECT_EQ(start->grid.steps, 13);
  EXPECT_EQ(start->box.steps, 13);
  EXPECT_EQ(start->network.steps, 12);
  // Moments are the parameters' own values times a factor: they lie where the parameters do.
  const auto scaled = [](const Tensor& of, float factor) {
    std::vector<float> values = of.to_host();
    for (float& value : values) value = factor < 0 ? value * value : value * factor;
    return values;
  };
  EXPECT_EQ(start->first_moments.sh_rest.to_host(), scaled(model.gaussians.sh_rest, 0.5f));
  EXPECT_EQ(start->second_moments.quaternions.to_host(), scaled(model.gaussians.quaternions, -1));
  EXPECT_EQ(start->grid.first.to_host(), scaled(model.field.grid, 0.5f));
  EXPECT_EQ(start->box.second.to_host(), scaled(model.field.box, -1));
  EXPECT_EQ(start->network.first.to_host(), scaled(model.field.network, 0.5f));
  EXPECT_EQ(start->max_radii.to_host(), std::vector<float>(40, 7));
  EXPECT_EQ(start->gradient_sum.to_host(), std::vector<float>(40, 8));
  EXPECT_EQ(start->views.to_host(), std::vector<float>(40, 9));
  // What has no optimiser: a folder, and the coarse stage.
  write_python_model(model, folder_ / "model");
  EXPECT_FALSE(read_python_training(*backend_, folder_ / "model", model));
  write_torch_checkpoint(folder_ / "coarse_3000.pth", kept.value());
  const Model coarse = open_model(*backend_, folder_ / "coarse_3000.pth");
  EXPECT_FALSE(read_python_training(*backend_, folder_ / "coarse_3000.pth", coarse));
}

TEST_P(PythonModel, AnOptimiserThatDoesNotFitIsSaid) {
  const Model model = test::tiny_model(*backend_, 12, 3);
  const auto refused = [&](const test::PythonCheckpoint& kept, const char* sentence) {
    write_torch_checkpoint(folder_ / "fine_100.pth", kept.value());
    const Model read = open_model(*backend_, folder_ / "fine_100.pth");
    EXPECT_ERROR(read_python_training(*backend_, folder_ / "fine_100.pth", read), sentence);
  };
  test::PythonCheckpoint kept(model, 100);
  kept.groups.pop_back();
  refused(kept, "no parameters 'rotation'");
  kept = test::PythonCheckpoint(model, 100);
  kept.states[0].first = TorchTensor::from(Shape{1, 3}, std::vector<float>(3));
  refused(kept, "'exp_avg' of 'xyz' has shape [1,3]");
  kept = test::PythonCheckpoint(model, 100);
  kept.states[0].second = TorchTensor::from(Shape{12, 3}, std::vector<float>(36, -1));
  refused(kept, "impossible values");
  kept = test::PythonCheckpoint(model, 100);
  kept.states[0].steps = -5;
  refused(kept, "out of range");
  kept = test::PythonCheckpoint(model, 100);
  kept.groups[2].second.pop_back();
  refused(kept, "'grid' has");
}

TEST_P(PythonModel, APlyAloneStandsStill) {
  const Model model = test::tiny_model(*backend_, 12, 3);
  write_gaussian_ply(folder_ / "object.ply", cloud_at(*backend_, model, 0.5f));
  const Model read = open_model(*backend_, folder_ / "object.ply", {.up = UpAxis::z});
  EXPECT_FALSE(read.info.deforms);
  EXPECT_EQ(read.gaussians.count(), 12);
}

TEST_P(PythonModel, WhatIsWrongIsSaidInOneSentence) {
  const Model model = test::tiny_model(*backend_, 12, 3);
  const auto files = write_python_model(model, folder_ / "model");
  EXPECT_ERROR(open_model(*backend_, files[1]), "name the folder");
  write_torch_checkpoint(folder_ / "list.pth", TorchValue::List{{1, 2}});
  EXPECT_ERROR(open_model(*backend_, folder_ / "list.pth"), "list.pth");
  write_torch_checkpoint(folder_ / "empty.pth", TorchValue::Tuple{{TorchValue::Tuple{}, 5}});
  EXPECT_ERROR(open_model(*backend_, folder_ / "empty.pth"), "it lacks one of");
  TorchValue::Dict dict;
  dict.entries = {{"deformation_net.grid.aabb", TorchTensor::from(Shape{2, 3}, std::vector<float>(6))}};
  write_torch_checkpoint(files[1], dict);
  EXPECT_ERROR(open_model(*backend_, folder_ / "model"), "grids.0.0");
  test::write_text(files[1], "no zip");
  EXPECT_ERROR(open_model(*backend_, folder_ / "model"), "deformation.pth");
}

EG4D_ON_EACH_DEVICE(PythonModel);

}  // namespace
}  // namespace eg4d
