#include "scene/frame_interpolation.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/process.h"
#include "io/folder.h"
#include "scene/frame_source.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

const char* kProgram = "rife-ncnn-vulkan";

fs::path interpolation_program() {
  if (const auto program = find_program(kProgram)) return *program;
  throw UsageError(
      fmt::format("frame interpolation needs the program {} on the PATH, and it is not there: get it from "
                  "github.com/nihui/rife-ncnn-vulkan, or leave the interpolation out",
                  kProgram));
}

// A folder for the program's pictures, gone at the end whatever happens.
class ScratchFolder {
 public:
  explicit ScratchFolder(fs::path path) : path_(std::move(path)) { make_folder(path_); }
  ~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

}  // namespace

void require_frame_interpolation() {
  interpolation_program();
}

void interpolate_dataset(const fs::path& from, const fs::path& to, const OrbitDataset& dataset, int factor,
                         double preview_fps) {
  if (factor < 2)
    throw UsageError(fmt::format("an interpolation factor of {}: it must be 2 or more", factor));
  const fs::path program = interpolation_program();
  OrbitDataset denser = dataset;
  denser.times = dataset.times * factor;
  DatasetWriter writer(to, denser);
  for (int view = 0; view < dataset.views; ++view) {
    const ScratchFolder scratch(to / ".interpolating");
    const fs::path images = from / fmt::format("views/{:08}/images", view + 1);
    const ProcessResult result = run_process(program, {"-i", images.string(), "-o", scratch.path().string(),
                                                       "-n", std::to_string(denser.times), "-f", "%06d.png"});
    const auto made = result.exit_code == 0 ? picture_files(scratch.path()) : std::vector<fs::path>{};
    if (made.size() != static_cast<size_t>(denser.times))
      throw Error(fmt::format("{} failed on {} (exit code {}, {} of {} pictures made): {}", kProgram,
                              images.string(), result.exit_code, made.size(), denser.times,
                              result.output_tail));
    for (int time = 0; time < denser.times; ++time)
      writer.write(time, view, compose_on_background(read_picture(made[static_cast<size_t>(time)]), 255));
  }
  writer.finish(preview_fps);
}

}  // namespace eg4d
