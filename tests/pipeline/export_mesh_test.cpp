#include "pipeline/export_mesh.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "backend/backend.h"
#include "core/interrupt.h"
#include "io/mapped_file.h"
#include "support/device_fixture.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"
#include "support/tiny_model.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

class ExportMesh : public test::OnEachDevice {
 protected:
  ExportMesh() {
    const Model model = test::tiny_model(*backend_, 300, 0);
    save_model(job_.model, model.info, model.gaussians, model.active_field());
    job_.mesh.emplace();
    job_.mesh->surface.resolution = 48;
    job_.mesh->surface.views = 12;
    job_.mesh->surface.faces = 1500;
    job_.mesh->texture = 128;
    job_.mesh->texture_views = 6;
  }
  ExportResult written(const char* name) {
    job_.output = folder_ / name;
    return export_model(*backend_, job_, quiet_);
  }
  std::string start_of(const fs::path& file, size_t bytes = 2000) {
    std::ifstream stream(file, std::ios::binary);
    std::string text(bytes, '\0');
    stream.read(text.data(), static_cast<std::streamsize>(bytes));
    text.resize(static_cast<size_t>(stream.gcount()));
    return text;
  }
  nlohmann::json gltf(const fs::path& file) {
    const std::string text = start_of(file, 1 << 20);
    uint32_t length = 0;
    std::memcpy(&length, text.data() + 12, 4);
    return nlohmann::json::parse(text.substr(20, length));
  }

  test::TemporaryFolder folder_;
  std::unique_ptr<Backend> backend_ = test::make_test_backend();
  ExportJob job_{.model = folder_ / "model.safetensors", .output = {}};
  Progress quiet_;
};

TEST_P(ExportMesh, AGlbMovesThroughAllTimes) {
  const ExportResult result = written("a.glb");
  EXPECT_EQ(result.files, std::vector<fs::path>{job_.output});
  EXPECT_TRUE(test::contains(result.surface, "watertight")) << result.surface;
  ASSERT_TRUE(result.psnr);
  EXPECT_GT(*result.psnr, 8) << "the model is a translucent cloud, which no surface looks like";
  const nlohmann::json moving = gltf(job_.output);
  EXPECT_EQ(moving["animations"].size(), 1u);
  EXPECT_EQ(moving["meshes"][0]["primitives"][0]["targets"].size(), 4u)
      << "five moments of the training video, one of which is the surface itself";
  job_.one_moment = true;
  written("a.glb");
  EXPECT_FALSE(gltf(job_.output).contains("animations"));
}

TEST_P(ExportMesh, EachFileOfOneMoment) {
  job_.one_moment = true;
  job_.time = 0.5;
  for (const auto method : {mesh::SurfaceMethod::density, mesh::SurfaceMethod::depth}) {
    job_.mesh->surface.method = method;
    EXPECT_EQ(written("a.obj").files.size(), 3u);
    for (const char* name : {"a.obj", "a.mtl", "a.png"}) EXPECT_TRUE(fs::exists(folder_ / name)) << name;
    EXPECT_FALSE(written("a.ply").psnr) << "it has no texture";
    EXPECT_TRUE(test::contains(start_of(job_.output), "element face "));
    EXPECT_EQ(written("a.usda").files.size(), 2u);
    EXPECT_TRUE(test::contains(start_of(job_.output), "#usda 1.0"));
  }
}

TEST_P(ExportMesh, AFolderOfOneTopologyOrOfEach) {
  job_.frames = 3;
  job_.check = false;
  job_.format = ExportFormat::obj;
  written("shared");
  EXPECT_TRUE(fs::exists(folder_ / "shared" / "frame_0002.obj"));
  EXPECT_TRUE(fs::exists(folder_ / "shared" / "texture.png"));
  job_.mesh->topology = Topology::per_frame;
  const ExportResult each = written("each");
  EXPECT_EQ(each.files.size(), 9u);
  EXPECT_TRUE(fs::exists(folder_ / "each" / "frame_0002.png"));
  job_.frames = 2;
  EXPECT_EQ(written("each").removed, 1);
  job_.format = ExportFormat::ply;
  EXPECT_EQ(written("points").files.size(), 2u);
}

TEST_P(ExportMesh, NoGaussiansGetASentence) {
  Model model = test::tiny_model(*backend_, 10, 0);
  model.gaussians = Gaussians::empty(*backend_, 0);
  model.info.deforms = false;
  save_model(job_.model, model.info, model.gaussians, nullptr);
  EXPECT_ERROR(written("a.glb"), "no Gaussians");
  EXPECT_FALSE(fs::exists(folder_ / "a.glb"));
}

TEST_P(ExportMesh, StopsWhenAskedWithoutAFile) {
  request_interrupt();
  EXPECT_THROW(written("a.glb"), Interrupted);
  clear_interrupt();
  EXPECT_FALSE(fs::exists(folder_ / "a.glb"));
}
EG4D_ON_EACH_DEVICE(ExportMesh);

}  // namespace
}  // namespace eg4d
