#include <gtest/gtest.h>

#include <fstream>

#include "core/error.h"
#include "io/safetensors.h"
#include "io/sha256.h"
#include "models/model_check.h"
#include "models/model_fetch.h"
#include "models/model_store.h"
#include "support/canned_server.h"
#include "support/environment.h"
#include "support/expect_error.h"
#include "support/run_program.h"
#include "support/sdxl_manifest.h"
#include "support/temporary_folder.h"
#include "support/tiny_image_model.h"
#include "support/tiny_video_model.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using test::http_response;
using test::WithEnvironment;

// A home of its own, so that nothing on the machine that runs the test is found.
class Models : public testing::Test {
 protected:
  test::TemporaryFolder folder;
  WithEnvironment home{"HOME", folder.path().string()}, xdg{"XDG_CACHE_HOME", {}}, hf_home{"HF_HOME", {}},
      hub{"HF_HUB_CACHE", {}}, old_hub{"HUGGINGFACE_HUB_CACHE", {}}, models{"EG4D_MODELS", {}},
      token{"HF_TOKEN", {}}, old_token{"HUGGING_FACE_HUB_TOKEN", {}}, token_path{"HF_TOKEN_PATH", {}};
  const ModelEntry& entry = find_model_entry("sv3d_p");

  fs::path write_model(const fs::path& path, int count = 8) {
    fs::create_directories(path.parent_path());
    const std::vector<float> values(static_cast<size_t>(count), 1);
    write_safetensors(path, {{"model.weight", DType::f32, {count}, values.data()}});
    return path;
  }
};

std::string sha256_of(const std::string& text) {
  Sha256 hash;
  hash.update(text.data(), text.size());
  return hash.hex();
}

TEST_F(Models, ThatComeWithTheProgramAreListedAndChecked) {
  const ModelEntry& mini = find_model_entry("svd_mini");
  EXPECT_EQ(mini.license, "Apache-2.0");
  fs::create_directories(folder / "models/mini");
  test::write_tiny_model(test::TinyModel::svd, folder / "models/mini/svd_mini.safetensors");
  test::write_tiny_model(test::TinyModel::sv3d_p, folder / "models/mini/sv3d_mini.safetensors");
  test::write_tiny_image_model(folder / "models/mini/sdxl_mini");
  const fs::path models_folder = folder / "models";
  for (const char* name : {"svd_mini", "sv3d_mini", "sdxl_mini"}) {
    const ModelEntry& entry = find_model_entry(name);
    const auto location = find_model(entry, models_folder);
    ASSERT_TRUE(location) << name;
    EXPECT_EQ(location->path, models_folder / "mini" / entry.file);
    Progress silent;
    EXPECT_EQ(check_model(entry, *location, false, silent).problem, "") << name;
    EXPECT_EQ(require_model(name, models_folder).path, location->path);
  }
  EXPECT_TRUE(test::contains(test::run_program({"models", "list"}).output, "comes with eg4d"));
  EXPECT_TRUE(test::contains(how_to_get(mini), "--models-folder"));
}

TEST_F(Models, TellHowTheyWereTrained) {
  const float one = 1;
  write_safetensors(folder / "mine.safetensors", {{"model.weight", DType::f32, {1}, &one}},
                    {{"svd.steps", "2077"},
                     {"svd.loss", "0.17"},
                     {"svd.device", "cuda"},
                     {"vae.psnr", "31.75"},
                     {"license", "Apache-2.0"}});
  EXPECT_EQ(training_record({folder / "mine.safetensors", false, {}}),
            "svd: 2077 steps, loss 0.17; vae: PSNR 31.75 dB");
}

TEST_F(Models, AreFoundWhereverTheyAre) {
  EXPECT_FALSE(find_model(entry));
  EXPECT_ERROR(require_model("sv3d_p"), "eg4d models fetch sv3d_p");

  const fs::path cache = folder / ".cache/huggingface/hub/models--stabilityai--sv3d";
  const std::string blob(64, 'a');
  write_model(cache / "blobs" / blob);
  fs::create_directories(cache / "snapshots/r1");
  fs::create_symlink("../../blobs/" + blob, cache / "snapshots/r1/sv3d_p.safetensors");
  ASSERT_TRUE(find_model(entry));
  EXPECT_EQ(find_model(entry)->path, cache / "snapshots/r1/sv3d_p.safetensors");
  EXPECT_EQ(find_model(entry)->sha256, blob);

  write_model(folder / ".cache/eg4d/models/sv3d_p.safetensors");
  EXPECT_EQ(find_model(entry)->path, folder / ".cache/eg4d/models/sv3d_p.safetensors");
  const WithEnvironment store("EG4D_MODELS", folder.path().string() + "/store");
  write_model(folder / "store/sv3d_p.safetensors");
  EXPECT_EQ(find_model(entry)->path, folder / "store/sv3d_p.safetensors");
  write_model(folder / "mine/sv3d_p.safetensors");
  EXPECT_EQ(find_model(entry, folder / "mine")->path, folder / "mine/sv3d_p.safetensors");
}

TEST_F(Models, AreTakenByPathOrName) {
  write_model(folder / "any.safetensors");
  EXPECT_FALSE(require_model((folder / "any.safetensors").string()).diffusers_layout);
  write_model(folder / "pipe/unet/diffusion_pytorch_model.fp16.safetensors");
  EXPECT_TRUE(require_model((folder / "pipe").string()).diffusers_layout);
  EXPECT_ERROR(require_model(folder.path().string()), "diffusers layout");
  EXPECT_ERROR(require_model("nowhere/x.safetensors"), "no model file");
  EXPECT_ERROR(require_model("sv3dp"), "sv3d_p");
}

TEST_F(Models, AreChecked) {
  Progress progress;
  const fs::path file = folder / "m/sv3d_p.safetensors";
  fs::create_directories(folder / "m");
  test::write_tiny_model(test::TinyModel::sv3d_p, file);
  ModelEntry small = entry;
  small.parameters = 1;
  const auto check = [&](bool hash) {
    return check_model(small, *find_model(entry, folder / "m"), hash, progress);
  };
  EXPECT_EQ(check(true).problem, "");
  EXPECT_EQ(check(true).stored_as, "f32");
  EXPECT_FALSE(check(true).hash_verified);
  EXPECT_TRUE(test::contains(check_model(entry, *find_model(entry, folder / "m"), false, progress).problem,
                             "smaller"));

  test::write_text(folder / "m/sv3d_p.safetensors.sha256",
                   sha256_of(test::read_text(file)) + "  sv3d_p.safetensors\n");
  EXPECT_TRUE(check(true).hash_verified);
  test::write_text(folder / "m/sv3d_p.safetensors.sha256", sha256_of("other") + "  sv3d_p.safetensors\n");
  EXPECT_TRUE(test::contains(check(true).problem, "SHA-256"));
  EXPECT_EQ(check(false).problem, "");
  fs::resize_file(file, fs::file_size(file) - 1);
  EXPECT_NE(check(false).problem, "");
  write_model(file);
  EXPECT_TRUE(test::contains(check(false).problem, "sv3d_p.safetensors"));
}

TEST_F(Models, AutoencodersAndImageModels) {
  Progress progress;
  const ModelEntry& autoencoder = find_model_entry("sdxl_vae_fp16_fix");
  const fs::path snapshot =
      folder / ".cache/huggingface/hub/models--madebyollin--sdxl-vae-fp16-fix/snapshots/r1";
  fs::create_directories(snapshot);
  test::write_sparse_safetensors(snapshot / "diffusion_pytorch_model.safetensors",
                                 test::read_manifest("sdxl_vae_diffusers"));
  ASSERT_TRUE(find_model(autoencoder));
  EXPECT_EQ(find_model(autoencoder)->path, snapshot);
  const ModelCheck good = check_model(autoencoder, *find_model(autoencoder), false, progress);
  EXPECT_EQ(good.problem, "");
  EXPECT_EQ(good.parameters, autoencoder.parameters);

  const ModelEntry& turbo = find_model_entry("sdxl_turbo");
  fs::create_directories(folder / "m");
  const auto problem = [&] {
    return check_model(turbo, *find_model(turbo, folder / "m"), false, progress).problem;
  };
  test::write_sparse_safetensors(folder / "m/sd_xl_turbo_1.0_fp16.safetensors", test::sdxl_file());
  EXPECT_EQ(problem(), "");
  test::write_tiny_image_file(folder / "m/sd_xl_turbo_1.0_fp16.safetensors");
  EXPECT_TRUE(test::contains(problem(), "smaller network"));
  test::write_tiny_model(test::TinyModel::sv3d_p, folder / "m/sd_xl_turbo_1.0_fp16.safetensors");
  EXPECT_TRUE(test::contains(problem(), "a model for video"));
}

TEST_F(Models, OnTheCommandLine) {
  const auto list = test::run_program({"models", "list"});
  EXPECT_EQ(list.exit_code, 0);
  for (const ModelEntry& one : model_catalog())
    EXPECT_TRUE(test::contains(list.output, one.repository)) << one.name;
  const auto check = test::run_program({"models", "check"});
  EXPECT_EQ(check.exit_code, 1);
  EXPECT_TRUE(test::contains(check.output, "eg4d models fetch sv3d_p"));
  EXPECT_TRUE(test::contains(check.output, "HF_TOKEN"));
  EXPECT_EQ(test::run_program({"models", "fetch"}).exit_code, 2);
  EXPECT_EQ(test::run_program({"models", "drop"}).exit_code, 2);
  EXPECT_TRUE(
      test::contains(test::run_program({"models", "check", "sv3dp"}).errors, "did you mean 'sv3d_p'?"));

  test::CannedServer server([&](const std::string&) { return http_response(403, "", ""); });
  const auto refused = test::run_program({"models", "fetch", "sv3d_p"}, {"HF_ENDPOINT=" + server.url("")});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_TRUE(test::contains(refused.errors, "https://huggingface.co/stabilityai/sv3d"));
}

TEST_F(Models, AreFetchedWithTheToken) {
  const std::string body = test::read_text(write_model(folder / "origin.safetensors"));
  test::CannedServer server([&](const std::string& request) {
    if (request.find("GET /stabilityai/sv3d/resolve/main/sv3d_p.safetensors ") != 0)
      return http_response(404, "", "");
    if (request.find("Bearer hf_good\r\n") == std::string::npos) return http_response(401, "", "");
    return http_response(200, "X-Linked-ETag: \"" + sha256_of(body) + "\"\r\n", body);
  });
  const WithEnvironment endpoint("HF_ENDPOINT", server.url("/"));
  Progress progress;
  EXPECT_ERROR(fetch_model(entry, folder / "to", progress), "needs a token");
  fs::create_directories(folder / ".cache/huggingface");
  test::write_text(folder / ".cache/huggingface/token", "hf_bad\n");
  EXPECT_ERROR(fetch_model(entry, folder / "to", progress), "does not know your token");
  test::write_text(folder / ".cache/huggingface/token", "hf_good\n");
  const fs::path file = fetch_model(entry, folder / "to", progress);
  EXPECT_EQ(test::read_text(file), body);
  EXPECT_EQ(find_model(entry, folder / "to")->sha256, sha256_of(body));
}

TEST_F(Models, RefusalsSayWhatToDo) {
  const WithEnvironment with_token("HF_TOKEN", "hf_x");
  int status = 403;
  test::CannedServer server(
      [&](const std::string&) { return http_response(status, "", "<html>a web page</html>"); });
  const WithEnvironment endpoint("HF_ENDPOINT", server.url(""));
  Progress progress;
  EXPECT_ERROR(fetch_model(entry, folder / "to", progress),
               "Accept the Stable Video 3D Community License on https://");
  status = 404;
  EXPECT_ERROR(fetch_model(entry, folder / "to", progress), "--model FILE");
  status = 200;
  EXPECT_ERROR(fetch_model(entry, folder / "to", progress), "no model file");
  EXPECT_FALSE(find_model(entry, folder / "to"));
}

// What is no model is set aside, not deleted: it may be gigabytes of something else.
TEST_F(Models, WhatIsNoModelIsKeptAside) {
  std::string body(1000, 'x');
  test::CannedServer server([&](const std::string&) { return http_response(200, "", body); });
  const WithEnvironment endpoint("HF_ENDPOINT", server.url(""));
  Progress progress;
  const fs::path rejected = folder / "to/sv3d_p.safetensors.rejected";
  EXPECT_ERROR(fetch_model(entry, folder / "to", progress), "it is kept as " + rejected.string());
  EXPECT_EQ(test::read_text(rejected), body);
  EXPECT_FALSE(find_model(entry, folder / "to"));
  EXPECT_FALSE(fs::exists(folder / "to/sv3d_p.safetensors.sha256"));
  body = test::read_text(write_model(folder / "origin.safetensors"));
  EXPECT_EQ(test::read_text(fetch_model(entry, folder / "to", progress)), body);
}

TEST_F(Models, AnUnreadableFileIsNotABadOne) {
  Progress progress;
  const ModelEntry& single = find_model_entry("u2net");
  for (const ModelEntry* one : {&entry, &single}) {
    fs::create_directories(folder / "there");
    EXPECT_TRUE(check_model(*one, {folder / "there", false, {}}, false, progress).unreadable) << one->name;
    EXPECT_TRUE(check_model(*one, {folder / "gone", false, {}}, false, progress).unreadable) << one->name;
    test::write_text(folder / "text.safetensors", "no model, but some text");
    const ModelCheck check = check_model(*one, {folder / "text.safetensors", false, {}}, false, progress);
    EXPECT_FALSE(check.unreadable) << one->name;
    EXPECT_NE(check.problem, "");
  }
}

}  // namespace
}  // namespace eg4d
