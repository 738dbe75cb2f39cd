// Loading the full-size video UNet: seconds, and how much memory beyond the weights it takes meanwhile.
//
//   bench_load [f32 | bf16] [checkpoint]
//
// Without a checkpoint, random f16 weights in the shapes of sv3d_p are written to a temporary file first (3
// GB), which is then in the file cache: what is measured is conversion and layout, not the disk.

#include <fmt/format.h>

#include <fstream>

#include "backend/cpu/testing.h"
#include "diffusion/video_unet.h"
#include "support/temporary_folder.h"
#include "unet_benchmark.h"

namespace eg4d::bench {
namespace {

// VmRSS, VmHWM (the most so far), RssFile (mapped files' share) …, in bytes.
size_t memory_status(const std::string& name) {
  std::ifstream status("/proc/self/status");
  std::string key;
  for (size_t kilobytes = 0; status >> key;) {
    if (key == name + ":" && status >> kilobytes) return kilobytes << 10;
    std::getline(status, key);
  }
  return 0;
}

void forget_peak() {
  std::ofstream("/proc/self/clear_refs") << 5;
}

void run(const NetworkType& type, const std::filesystem::path& checkpoint) {
  const auto backend = make_cpu_backend();
  const WeightMap weights(checkpoint);
  forget_peak();
  const size_t before = memory_status("VmRSS");
  const double start = wall_seconds();
  const VideoUNet network(*backend, weights, "model.diffusion_model.", {.type = type});
  const double seconds = wall_seconds() - start;
  const auto taken = static_cast<double>(memory_status("VmHWM") - before),
             final_size = static_cast<double>(network.weight_bytes());
  fmt::print(
      "{}: {:.1f} s; weights {:.3f} GiB, taken at most {:.3f} GiB: {:+.1f} % (device peak {:+.1f} %)\n"
      "resident afterwards {:.3f} GiB, of which {:.3f} GiB are the file's\n",
      backend->name(), seconds, gib(network.weight_bytes()), gib(static_cast<size_t>(taken)),
      100 * (taken / final_size - 1),
      100 * (static_cast<double>(cpu::peak_allocated_bytes(*backend)) / final_size - 1),
      gib(memory_status("VmRSS")), gib(memory_status("RssFile")));
}

}  // namespace
}  // namespace eg4d::bench

int main(int argc, char** argv) {
  using namespace eg4d;
  using namespace eg4d::bench;
  const NetworkType type = type_named(argc > 1 ? argv[1] : "f32");
  if (argc > 2) {
    run(type, argv[2]);
    return 0;
  }
  const test::TemporaryFolder folder;
  test::Manifest manifest = test::read_manifest("sv3d_p");
  std::erase_if(manifest, [](const auto& item) { return !item.first.starts_with("model.diffusion_model."); });
  write_random_weights(folder / "weights.safetensors", manifest);
  run(type, folder / "weights.safetensors");
}
