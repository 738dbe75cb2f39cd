#include "splat/model.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "backend/backend.h"
#include "backend/cpu/testing.h"
#include "io/safetensors.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"
#include "support/tiny_model.h"

namespace eg4d {
namespace {

using nlohmann::json;

// A small model, whose file is then written again with something changed in it.
class ModelFileTest : public testing::Test {
 protected:
  ModelFileTest() {
    const auto backend = make_cpu_backend();
    const Model model = test::tiny_model(*backend, 30, 2);
    save_model(whole_, model.info, model.gaussians, &model.field);
    header_ = json::parse(SafetensorsFile(whole_).metadata().at("info"));
  }

  std::string error_with(const std::string& header, const std::string& changed_tensor = {},
                         Shape shape = {}) {
    const SafetensorsFile file(whole_);
    std::vector<SafetensorsTensor> tensors;
    for (const auto& [name, entry] : file.entries())
      tensors.push_back({name, entry.dtype, name == changed_tensor ? shape : entry.shape, entry.data});
    write_safetensors(folder_ / "changed.safetensors", tensors, {{"format", "eg4d-model"}, {"info", header}});
    const auto backend = make_cpu_backend();
    const std::string error = test::error_of([&] { load_model(*backend, folder_ / "changed.safetensors"); });
    EXPECT_EQ(cpu::peak_allocated_bytes(*backend), 0u) << "memory was taken before the file was checked";
    EXPECT_TRUE(test::contains(error, "changed.safetensors")) << error;
    return error;
  }
  std::string error_with_option(const std::string& key, const std::string& value) {
    json header = header_;
    std::string options = header["options"];
    const size_t begin = options.find("\n" + key + " = ") + 1, end = options.find('\n', begin);
    options.replace(begin, end - begin, key + " = " + value);
    header["options"] = options;
    return error_with(header.dump());
  }

  test::TemporaryFolder folder_;
  const std::filesystem::path whole_ = folder_ / "whole.safetensors";
  json header_;
};

TEST_F(ModelFileTest, SizesAreCheckedBeforeMemoryIsTaken) {
  EXPECT_TRUE(test::contains(error_with_option("width", "4096"), "'field.network'"));
  EXPECT_TRUE(test::contains(error_with_option("depth", "16"), "'field.network'"));
  EXPECT_TRUE(test::contains(error_with_option("resolution", "4096"), "'field.grid'"));
  EXPECT_TRUE(test::contains(error_with_option("channels", "256"), "'field.grid'"));
  std::string levels = "[1";
  for (int i = 0; i < 100000; ++i) levels += ", 64";
  EXPECT_TRUE(test::contains(error_with_option("levels", levels + "]"), "levels"));
  const std::string header = header_.dump();
  EXPECT_TRUE(test::contains(error_with(header, "gaussians.positions", {15, 6}), "'gaussians.positions'"));
  EXPECT_TRUE(test::contains(error_with(header, "gaussians.positions", {90}), "is not [N,3]"));
  EXPECT_TRUE(test::contains(error_with(header, "gaussians.sh_rest", {30, 45}), "'gaussians.sh_rest'"));
  EXPECT_TRUE(test::contains(error_with(header, "field.box", {3, 2}), "'field.box'"));
}

TEST_F(ModelFileTest, TheHeaderIsChecked) {
  const auto with = [&](const char* key, const json& value) {
    json header = header_;
    header[key] = value;
    return error_with(header.dump());
  };
  EXPECT_TRUE(test::contains(with("version", 2), "later version"));
  for (const json& value : {json(-1), json(4), json(1.5), json("2"), json(1e300)})
    EXPECT_TRUE(test::contains(with("active_sh_degree", value), "its 'active_sh_degree' is"));
  for (const char* key : {"width", "height", "frame_count", "iterations"})
    for (const json& value : {json(-1), json(1e300), json(~uint64_t{0})})
      EXPECT_TRUE(test::contains(with(key, value), std::string("its '") + key + "' is")) << key;
  for (const char* key : {"extent", "largest_time", "fov_x", "camera_radius"})
    EXPECT_TRUE(test::contains(with(key, -1), std::string("its '") + key + "' is"));
  EXPECT_TRUE(test::contains(with("largest_time", 0), "'largest_time' is 0"));
  EXPECT_TRUE(test::contains(with("provenance", json::array()), "lacks a part"));
  EXPECT_TRUE(test::contains(error_with("xx"), "not valid JSON"));
  EXPECT_TRUE(test::contains(error_with(std::string(100000, '[')), "nests"));
}

}  // namespace
}  // namespace eg4d
