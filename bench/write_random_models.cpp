// Checkpoints of full size with random weights, in f16, as they are published: for whole runs and
// measurements where the real ones cannot be. What is painted with them is noise.
//
//   write_random_models FOLDER [NAME…]
//
// NAME: of `eg4d models list`; without one, all that preset paper of `eg4d generate` looks for except another
// autoencoder: 17 GB. Files that are there stay. Then: eg4d generate PICTURE -o RUN --preset paper
// --models-folder FOLDER
#include <fmt/format.h>

#include <cstdio>
#include <exception>

#include "measure.h"
#include "models/model_catalog.h"
#include "support/dpt_manifest.h"
#include "support/sdxl_manifest.h"
#include "unet_benchmark.h"
#include "vision_manifests.h"

namespace eg4d::bench {
namespace {

namespace fs = std::filesystem;

test::Manifest manifest_of(const std::string& name) {
  if (name == "svd_xt_1_1") return test::read_manifest("svd_xt");
  if (name == "sv3d_p") return test::read_manifest("sv3d_p");
  if (name == "sdxl_turbo" || name == "sdxl_base") return test::sdxl_file();
  if (name == "controlnet_depth_sdxl") return test::sdxl_control_net();
  if (name == "dpt_hybrid_midas") return test::dpt_manifest();
  if (name == "u2net") return u2net(U2Net::Kind::u2net);
  if (name == "alexnet") return lpips_backbone(Lpips::Network::alex);
  if (name == "lpips_alex") return lpips_heads(Lpips::Network::alex);
  throw Error(fmt::format("no list of the tensors of {} is here", name));
}

void write(const fs::path& folder, const std::string& name) {
  const ModelEntry& entry = find_model_entry(name);
  fs::path file = folder / entry.file;
  if (is_single_file(entry.kind)) file.replace_extension(".safetensors");
  if (fs::exists(file)) return;
  const double start = wall_seconds();
  write_random_weights(file, manifest_of(name));
  fmt::print("{}: {:.2f} GB in {:.1f} s\n", file.string(), static_cast<double>(fs::file_size(file)) * 1e-9,
             wall_seconds() - start);
  std::fflush(stdout);
}

}  // namespace
}  // namespace eg4d::bench

int main(int argc, char** argv) {
  using namespace eg4d::bench;
  if (argc < 2) {
    fmt::print(stderr, "usage: write_random_models FOLDER [NAME...]\n");
    return 2;
  }
  std::vector<std::string> names(argv + 2, argv + argc);
  if (names.empty()) names = {"sv3d_p", "svd_xt_1_1", "sdxl_turbo", "alexnet", "lpips_alex", "u2net"};
  try {
    std::filesystem::create_directories(argv[1]);
    for (const std::string& name : names) write(argv[1], name);
  } catch (const std::exception& error) {
    fmt::print(stderr, "write_random_models: {}\n", error.what());
    return 1;
  }
  return 0;
}
