#include "pipeline/evaluate.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "pipeline/evaluation_report.h"
#include "pipeline/pictures.h"
#include "support/device_fixture.h"
#include "support/environment.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"
#include "support/tiny_clip.h"
#include "support/tiny_lpips.h"
#include "support/tiny_model.h"
#include "support/tiny_scene.h"

namespace eg4d {
namespace {

class Evaluate : public test::OnEachDevice {
 protected:
  Evaluate() {
    const Model model = test::tiny_model(*backend_, 60, 3);
    save_model(folder_ / "model.safetensors", model.info, model.gaussians, &model.field);
    test::write_tiny_dataset(folder_ / "dataset", 3, 4, 40, 36);
    std::filesystem::create_directories(folder_ / "weights");
    job_.model = folder_ / "model.safetensors";
    job_.dataset = folder_ / "dataset";
    job_.split = "train";
    job_.models_folder = folder_ / "weights";
  }

  test::TemporaryFolder folder_;
  test::WithEnvironment home_{"HOME", folder_.path().string()}, cache_{"XDG_CACHE_HOME", {}},
      hf_home_{"HF_HOME", {}}, hub_{"HF_HUB_CACHE", {}}, old_hub_{"HUGGINGFACE_HUB_CACHE", {}},
      models_{"EG4D_MODELS", {}}, torch_{"TORCH_HOME", {}};
  std::unique_ptr<Backend> backend_ = test::make_test_backend({.guard_memory = true});
  EvaluateJob job_;
  Progress quiet_;
};

TEST_P(Evaluate, WithoutWeightsFiguresAreLeftOutAndSaidWhy) {
  const EvaluateResult result = evaluate_model(*backend_, job_, quiet_);
  EXPECT_TRUE(result.perceptual.empty());
  ASSERT_EQ(result.left_out.size(), 3u);
  EXPECT_TRUE(test::contains(result.left_out[0], "LPIPS alex is left out: alexnet-owt-7be5be79.pth"));
  EXPECT_TRUE(test::contains(result.left_out[0],
                             "\"eg4d models fetch alexnet\" gets it from https://download.pytorch"));
  EXPECT_TRUE(test::contains(result.left_out[1], "LPIPS vgg is left out: vgg16-397923af.pth"));
  EXPECT_TRUE(test::contains(result.left_out[2], "CLIP-I is left out: clip-vit-large-patch14.safetensors"));
}

TEST_P(Evaluate, EveryFigureWhoseWeightsAreThere) {
  test::write_tiny_lpips(Lpips::Network::alex, job_.models_folder);
  test::write_tiny_lpips(Lpips::Network::vgg, job_.models_folder);
  test::write_tiny_clip(job_.models_folder / "clip-vit-large-patch14.safetensors");
  job_.report = folder_ / "report.html";
  const EvaluateResult result = evaluate_model(*backend_, job_, quiet_);
  EXPECT_TRUE(result.left_out.empty());
  const auto json = nlohmann::json::parse(to_json(result, job_.split));
  EXPECT_EQ(json["per_view"].size(), 8u);
  for (const char* key : {"psnr", "ssim", "l1", "lpips_alex", "lpips_vgg", "clip_i"}) {
    double sum = 0;
    for (const auto& view : json["per_view"]) sum += view[key].get<double>();
    EXPECT_NEAR(json[key].get<double>(), sum / 8, 1e-9) << key;
  }
  EXPECT_GT(json["lpips_alex"], 0);
  EXPECT_LE(json["clip_i"], 1);

  const std::string page = test::read_text(job_.report);
  size_t pictures = 0, plots = 0;
  for (size_t at = page.find("<img"); at != std::string::npos; at = page.find("<img", at + 1)) ++pictures;
  for (size_t at = page.find("<svg"); at != std::string::npos; at = page.find("<svg", at + 1)) ++plots;
  EXPECT_EQ(pictures, 3u * 8);
  EXPECT_EQ(plots, 5u);
  EXPECT_FALSE(test::contains(page, "http"));  // nothing from elsewhere
  EXPECT_TRUE(test::contains(page, "LPIPS vgg"));
}

TEST_P(Evaluate, FurtherFiguresAndTheFilesOfFourDGaussians) {
  test::write_tiny_dataset(folder_ / "large", 2, 3, 168, 162);
  test::write_tiny_clip(job_.models_folder / "clip-vit-large-patch14.safetensors");
  test::write_tiny_lpips(Lpips::Network::alex, job_.models_folder);
  job_.dataset = folder_ / "large";
  job_.all_figures = true;
  job_.results = folder_ / "results";
  job_.reference = folder_ / "large/views/1/images/000000.png";
  const EvaluateResult result = evaluate_model(*backend_, job_, quiet_);
  const auto json = nlohmann::json::parse(to_json(result, job_.split));
  EXPECT_NEAR(json["d_ssim"].get<double>(), (1 - json["ms_ssim"].get<double>()) / 2, 1e-12);
  EXPECT_LT(json["ms_ssim"].get<double>(), 1);
  EXPECT_LE(json["clip_s"].get<double>(), 1);
  EXPECT_EQ(json["temporal"]["flicker"]["pairs"], 2);
  EXPECT_GT(json["temporal"]["flicker"]["truth"], 0);  // a blob moves
  EXPECT_EQ(json["temporal"]["acceleration"]["pairs"], 1);
  EXPECT_TRUE(json["temporal"].contains("clip_t"));

  const auto read = [&](const char* name) {
    return nlohmann::json::parse(test::read_text(job_.results / name));
  };
  const auto means = read("results.json")["ours_77"], views = read("per_view.json")["ours_77"];
  for (const auto& [name, key] : std::map<std::string, std::string>{{"SSIM", "ssim"},
                                                                    {"PSNR", "psnr"},
                                                                    {"LPIPS-alex", "lpips_alex"},
                                                                    {"MS-SSIM", "ms_ssim"},
                                                                    {"D-SSIM", "d_ssim"}}) {
    EXPECT_NEAR(means[name].get<double>(), json[key].get<double>(), 1e-9) << name;
    EXPECT_EQ(views[name].size(), 3u) << name;
    EXPECT_NEAR(views[name]["00002.png"].get<double>(), json["per_view"][2][key].get<double>(), 1e-9) << name;
  }
  EXPECT_FALSE(means.contains("LPIPS-vgg"));  // its weights are not here
}

TEST_P(Evaluate, WhatFurtherFiguresLackIsSaid) {
  job_.all_figures = true;
  EvaluateResult result = evaluate_model(*backend_, job_, quiet_);
  EXPECT_TRUE(test::contains(result.left_out.back(), "they need pictures of more than 160 pixels a side"));
  EXPECT_EQ(result.temporal.size(), 2u);  // no CLIP-T without CLIP
  EXPECT_FALSE(nlohmann::json::parse(to_json(result, "train")).contains("ms_ssim"));
  test::write_tiny_dataset(folder_ / "one", 3, 1, 40, 36);
  job_.dataset = folder_ / "one";
  result = evaluate_model(*backend_, job_, quiet_);
  EXPECT_TRUE(test::contains(result.left_out.back(), "no camera of 'train' has pictures of two times"));
  job_.reference = folder_ / "one/views/0/images/000000.png";
  EXPECT_ERROR(evaluate_model(*backend_, job_, quiet_), "CLIP-S cannot be measured");
}

TEST_P(Evaluate, SmallPicturesHaveNoLpips) {
  test::write_tiny_dataset(folder_ / "small", 3, 2, 20, 18);
  test::write_tiny_lpips(Lpips::Network::alex, job_.models_folder);
  test::write_tiny_lpips(Lpips::Network::vgg, job_.models_folder);
  job_.dataset = folder_ / "small";
  const EvaluateResult result = evaluate_model(*backend_, job_, quiet_);
  ASSERT_EQ(result.perceptual.size(), 1u);
  EXPECT_EQ(result.perceptual[0].key, "lpips_vgg");
  EXPECT_TRUE(
      test::contains(result.left_out.back(), "LPIPS alex is left out: it needs pictures of at least 31"));
}

TEST_P(Evaluate, DamagedWeightsAreAnError) {
  test::write_tiny_lpips(Lpips::Network::alex, job_.models_folder);
  test::write_text(job_.models_folder / "alex.pth", "nonsense");
  EXPECT_ERROR(evaluate_model(*backend_, job_, quiet_), "alex.pth");
}

TEST(EvaluationReport, ErrorMapGrowsFromBlackToWhite) {
  Picture a(4, 1, 3), b(4, 1, 3);
  b.data = {0, 0, 0, 20, 20, 20, 64, 64, 64, 200, 200, 200};
  const Picture map = error_map(a, b);
  EXPECT_EQ(map.data[0], 0);
  EXPECT_GT(map.data[3], 200);  // red
  EXPECT_EQ(map.data[5], 0);
  EXPECT_EQ(map.data[8], 255);  // white
  EXPECT_EQ(map.data[11], 255);
}

TEST(EvaluationReport, OfNoPicturesAndOfMany) {
  test::TemporaryFolder folder;
  EvaluateResult result;
  result.model = "a<b>&\"c\"";
  EvaluationReport(0).write(folder / "none.html", result, "test");
  EXPECT_TRUE(test::contains(test::read_text(folder / "none.html"), "a&lt;b&gt;&amp;&quot;c&quot;"));
  const EvaluationReport report(1000);
  int shown = 0;
  for (size_t i = 0; i < 1000; ++i) shown += report.shows(i);
  EXPECT_EQ(shown, 32);
}

EG4D_ON_EACH_DEVICE(Evaluate);

}  // namespace
}  // namespace eg4d
