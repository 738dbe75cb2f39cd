#include "pipeline/info.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "backend/backend.h"
#include "io/image.h"
#include "io/safetensors.h"
#include "pipeline/export.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"
#include "support/tiny_model.h"
#include "support/tiny_scene.h"

namespace eg4d {
namespace {

using nlohmann::json;

class Info : public testing::Test {
 protected:
  json info(const std::string& name) const { return json::parse(describe_as_json(folder_ / name)); }
  void save_tiny_model(const std::string& name) {
    const Model model = test::tiny_model(*backend_, 30, 2);
    save_model(folder_ / name, model.info, model.gaussians, &model.field);
  }

  test::TemporaryFolder folder_;
  std::unique_ptr<Backend> backend_ = make_cpu_backend();
};

TEST_F(Info, Model) {
  save_tiny_model("model.safetensors");
  const json model = info("model.safetensors");
  EXPECT_EQ(model["kind"], "model");
  EXPECT_EQ(model["info"]["gaussians"], 30);
  EXPECT_EQ(model["info"]["iterations"], 77);
  EXPECT_EQ(model["tensors"]["gaussians.positions"], "f32 [30,3]");
  const std::string text = describe_as_text(folder_ / "model.safetensors");
  EXPECT_TRUE(test::contains(text, "gaussians         30")) << text;
  EXPECT_TRUE(test::contains(text, "[schedule]")) << text;
}

TEST_F(Info, PlyAndPicture) {
  save_tiny_model("model.safetensors");
  Progress quiet;
  export_model(*backend_, {.model = folder_ / "model.safetensors", .output = folder_ / "a.ply"}, quiet);
  EXPECT_EQ(info("a.ply")["kind"], "Gaussians (PLY)");
  EXPECT_EQ(info("a.ply")["vertices"], 30);
  for (const auto& [name, kind] :
       {std::pair("a.compressed.ply", "Gaussians (compressed PLY)"),
        std::pair("a.splat", "Gaussians (.splat)"), std::pair("a.spz", "Gaussians (.spz)"),
        std::pair("a.sog", "Gaussians (SOG)")}) {
    export_model(*backend_, {.model = folder_ / "model.safetensors", .output = folder_ / name}, quiet);
    EXPECT_EQ(info(name)["kind"], kind);
    EXPECT_EQ(info(name)["gaussians"], 30);
  }
  EXPECT_EQ(info("a.spz")["version"], 3);
  write_png(folder_ / "a.png", Picture(7, 5, 4));
  EXPECT_EQ(info("a.png")["width"], 7);
  EXPECT_EQ(info("a.png")["channels"], 4);
}

TEST_F(Info, DatasetAndRun) {
  test::write_tiny_dataset(folder_ / "run/multiviews", 3, 2, 24, 20);
  const json dataset = info("run/multiviews");
  EXPECT_EQ(dataset["kind"], "dataset");
  EXPECT_EQ(dataset["splits"]["train"]["pictures"], 4);
  EXPECT_EQ(dataset["splits"]["train"]["times"], 2);
  EXPECT_EQ(dataset["splits"]["test"]["width"], 24);
  EXPECT_EQ(info("run")["kind"], "run");
  EXPECT_EQ(info("run")["multiviews"], dataset["splits"]);
  std::filesystem::create_directory(folder_ / "run/coarse");
  test::write_text(folder_ / "run/coarse/manifest.json", "{}");
  EXPECT_TRUE(test::contains(describe_as_text(folder_ / "run"), "no checkpoint yet"));
  save_tiny_model("run/coarse/model.safetensors");
  test::write_text(folder_ / "run/coarse/metrics.json",
                   "{\"iterations\": 77, \"splits\": {\"test\": {\"psnr\": 21.5}}}");
  EXPECT_EQ(info("run")["coarse"]["state"], "finished");
  EXPECT_EQ(info("run")["coarse"]["splits"]["test"]["psnr"], 21.5);
  EXPECT_EQ(info("run/coarse"), info("run"));
}

TEST_F(Info, DeeplyNestedMetadataIsShownAsItIs) {
  const float one = 1;
  for (const size_t depth : {size_t{3}, size_t{100}, size_t{1000000}}) {
    std::string text;
    for (size_t i = 0; i < depth; ++i) text += "{\"a\":";
    text += "1" + std::string(depth, '}');
    write_safetensors(folder_ / "a.safetensors", {{"t", DType::f32, {1}, &one}}, {{"note", text}});
    const json note = info("a.safetensors")["note"];
    EXPECT_EQ(note, depth == 3 ? json::parse(text) : json(text));
    EXPECT_FALSE(describe_as_text(folder_ / "a.safetensors").empty());
  }
}

TEST_F(Info, DamagedMetricsAreNamed) {
  test::write_tiny_dataset(folder_ / "run/multiviews", 3, 2, 24, 20);
  std::filesystem::create_directory(folder_ / "run/coarse");
  test::write_text(folder_ / "run/coarse/manifest.json", "{}");
  test::write_text(folder_ / "run/coarse/metrics.json", "{\"iterations\": ");
  EXPECT_ERROR(info("run"), "metrics.json' is not valid JSON");
}

TEST_F(Info, WhatIsNothing) {
  test::write_text(folder_ / "a.txt", "hello");
  test::write_text(folder_ / "empty", "");
  test::write_text(folder_ / "a.safetensors", "\x10");
  test::write_text(folder_ / "a.ply", "ply\nformat ascii 1.0\n");
  for (const char* name : {"a.txt", "empty", "a.safetensors", "a.ply", "none"}) {
    EXPECT_ERROR(info(name), name);
  }
  EXPECT_ERROR(describe_as_text(folder_.path()), "neither a dataset");
}

}  // namespace
}  // namespace eg4d
