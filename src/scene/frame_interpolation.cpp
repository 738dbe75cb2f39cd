#include "scene/frame_interpolation.h"

#include <fmt/format.h>

#include <functional>
#include <vector>

#include "core/error.h"
#include "core/interrupt.h"
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
      fmt::format("interpolation needs the program {} on the PATH, and it is not there: get it from "
                  "github.com/nihui/rife-ncnn-vulkan, or leave the interpolation out",
                  kProgram));
}

// A folder for the program's pictures, gone at the end whatever happens.
class ScratchFolder {
 public:
  explicit ScratchFolder(fs::path path) : path_(std::move(path)) {
    std::error_code ignored;
    fs::remove_all(path_, ignored);  // of a call that was killed
    make_folder(path_ / "in");
    make_folder(path_ / "out");
  }
  ~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  fs::path in() const { return path_ / "in"; }
  fs::path out() const { return path_ / "out"; }

 private:
  fs::path path_;
};

// The program passes over symbolic links, so the picture itself must be there under another name.
void put_picture(const fs::path& picture, const fs::path& name) {
  std::error_code error;
  fs::create_hard_link(fs::canonical(picture), name, error);
  if (error) fs::copy_file(picture, name, error);
  if (error)
    throw Error(fmt::format("cannot copy {} to {}: {}", picture.string(), name.string(), error.message()));
}

class Interpolator {
 public:
  Interpolator(fs::path scratch, const Interpolation& interpolation)
      : program_(interpolation_program()), scratch_(std::move(scratch)), interpolation_(interpolation) {}

  // Number k of the result lies at position k/factor among the pictures. Hands the first `wanted` to `take`.
  void run(const std::vector<fs::path>& pictures, int wanted,
           const std::function<void(int number, const Picture&)>& take) const {
    const ScratchFolder scratch(scratch_);
    for (size_t i = 0; i < pictures.size(); ++i)
      put_picture(pictures[i], scratch.in() / fmt::format("{:06}.png", i));
    const size_t count = pictures.size() * static_cast<size_t>(interpolation_.factor);
    const ProcessResult result =
        run_process(program_, {"-i", scratch.in().string(), "-o", scratch.out().string(), "-m",
                               interpolation_.model, "-n", std::to_string(count), "-f", "%06d.png"});
    if (interrupt_requested())  // Ctrl-C went to the program, too
      throw Interrupted("stopped while pictures were interpolated; the same command continues from there");
    const auto made = result.exit_code == 0 ? picture_files(scratch.out()) : std::vector<fs::path>{};
    if (made.size() != count)
      throw Error(fmt::format(
          "{} failed on {} and what follows it (exit code {}, {} of {} pictures made): {}", kProgram,
          pictures.front().string(), result.exit_code, made.size(), count, result.output_tail));
    for (int number = 0; number < wanted; ++number)
      take(number, compose_on_background(read_picture(made[static_cast<size_t>(number)]), 255));
  }

 private:
  const fs::path program_, scratch_;
  const Interpolation& interpolation_;
};

void check(const Interpolation& interpolation) {
  if (interpolation.factor < 2)
    throw UsageError(
        fmt::format("an interpolation factor of {}: it must be 2 or more", interpolation.factor));
  require_interpolation(interpolation.model);
}

// One strip of pictures after the other; those that are there already are passed over.
void make_strips(int strips, const std::string& label, Progress& progress,
                 const std::function<bool(int strip)>& is_there, const std::function<void(int strip)>& make) {
  progress.begin(strips, label);
  for (int strip = 0; strip < strips; ++strip) {
    if (interrupt_requested())
      throw Interrupted(fmt::format(
          "stopped; {} of {} rows of pictures are interpolated, and the same command continues from there",
          strip, strips));
    if (!is_there(strip)) make(strip);
    progress.update(strip + 1);
  }
}

}  // namespace

void require_interpolation(const std::string& model) {
  if (model.find("rife-v4") == std::string::npos)
    throw UsageError(
        fmt::format("the interpolation model \"{}\": {} makes a chosen number of pictures only with its "
                    "rife-v4 models, such as rife-v4.6",
                    model, kProgram));
  interpolation_program();
}

OrbitDataset with_more_times(const OrbitDataset& dataset, int factor) {
  OrbitDataset denser = dataset;
  denser.times = factor * (dataset.times - 1) + 1;
  return denser;
}

OrbitDataset with_more_views(const OrbitDataset& dataset, int factor) {
  OrbitDataset denser = dataset;
  denser.views = factor * dataset.views;
  return denser;
}

void interpolate_times(const fs::path& from, const fs::path& to, const OrbitDataset& dataset,
                       const Interpolation& interpolation, Progress& progress, double preview_fps) {
  check(interpolation);
  if (dataset.times < 2)
    throw UsageError("a video of one frame: there is nothing between its moments to interpolate");
  const OrbitDataset denser = with_more_times(dataset, interpolation.factor);
  const DatasetWriter source(from, dataset);
  DatasetWriter writer(to, denser);
  const Interpolator interpolator(to / ".interpolating", interpolation);
  make_strips(
      dataset.views, "interpolating times", progress,
      [&](int view) {
        for (int time = 0; time < denser.times; ++time)
          if (!writer.has(time, view)) return false;
        return true;
      },
      [&](int view) {
        std::vector<fs::path> pictures;
        for (int time = 0; time < dataset.times; ++time) pictures.push_back(source.picture_path(time, view));
        interpolator.run(pictures, denser.times,
                         [&](int time, const Picture& picture) { writer.write(time, view, picture); });
      });
  writer.finish(preview_fps);
}

void interpolate_views(const fs::path& from, const fs::path& to, const OrbitDataset& dataset,
                       const Interpolation& interpolation, OrbitEnd end, Progress& progress,
                       double preview_fps) {
  check(interpolation);
  const OrbitDataset denser = with_more_views(dataset, interpolation.factor);
  const DatasetWriter source(from, dataset);
  DatasetWriter writer(to, denser);
  const Interpolator interpolator(to / ".interpolating", interpolation);
  make_strips(
      dataset.times, "interpolating views", progress,
      [&](int time) {
        for (int view = 0; view < denser.views; ++view)
          if (!writer.has(time, view)) return false;
        return true;
      },
      [&](int time) {
        std::vector<fs::path> pictures;
        for (int view = 0; view < dataset.views; ++view) pictures.push_back(source.picture_path(time, view));
        if (end == OrbitEnd::closed) pictures.push_back(source.picture_path(time, 0));
        interpolator.run(pictures, denser.views,
                         [&](int view, const Picture& picture) { writer.write(time, view, picture); });
      });
  writer.finish(preview_fps);
}

}  // namespace eg4d
