#include <fmt/format.h>

#include "app/checks.h"
#include "app/command.h"
#include "app/model_options.h"
#include "app/open_backend.h"
#include "core/error.h"
#include "core/text_layout.h"
#include "io/folder.h"
#include "pipeline/render.h"

namespace eg4d {
namespace {

class RenderCommand : public Command {
 public:
  const char* name() const override { return "render"; }
  const char* summary() const override {
    return "a model becomes a video or pictures, along any camera path";
  }
  const char* examples() const override {
    return "  eg4d render run -o orbit.mp4                            one turn while time runs forward and "
           "back\n"
           "  eg4d render run -o front.mp4 --azimuth 0 --no-back --frames 25 --fps 10\n"
           "  eg4d render run -o pictures --azimuth -45,45 --elevation 10,20\n"
           "  eg4d render run -o depth --depth --frames 20            PNG frames, near is bright\n"
           "  eg4d render run -o test.mp4 --split test --truth        the dataset's cameras, truth beside\n"
           "  eg4d render run -o train.mp4 --split train --color-time own   colours of each frame's own time";
  }

  bool has_field() const override { return true; }
  void declare(Arguments& arguments) override {
    arguments.positional("MODEL", model_, "a run folder, a model file, or a model of the Python EG4D");
    ConfigSchema& options = arguments.options;
    options.add("output", output_, "a video (.mp4), or a folder for PNG frames");
    arguments.short_name('o', "output");
    shown_.declare(arguments);
    arguments.value_name("output", "FILE|FOLDER", true);
    arguments.value_name("azimuth", "X[,Y]");
    arguments.value_name("elevation", "X[,Y]");
    arguments.value_name("time", "X[,Y]");
    arguments.value_name("split", "NAME");
    arguments.value_name("dataset", "FOLDER");
    options.add("frames", job_.orbit.frames, {1, 1e6}, "pictures of the orbit");
    options.add("azimuth", azimuth_, {-36000, 36000}, "degrees, or from,to");
    options.add("elevation", elevation_, {-90, 90}, "degrees, or from,to");
    options.add("radius", job_.orbit.radius, {0, 1e4}, "distance of the camera; 0: as the training cameras");
    options.add("time", time_, {0, 1}, "moment of the object, or from,to");
    options.add("back", job_.orbit.back, "time runs forward and back; --no-back: forward only");
    options.add("width", job_.width, {0, 16384}, "pixels; 0: as the training pictures");
    options.add("height", job_.height, {0, 16384}, "pixels; 0: as the training pictures");
    options.add("split", job_.split, "cameras and times of transforms_NAME.json instead of an orbit");
    options.add("dataset", dataset_, "dataset of --split; default: the one the model was trained on");
    options.add("truth", job_.truth, "with --split: the dataset's picture beside the rendered one");
    options.add("depth", job_.depth, "depth instead of colour: grey, near is bright");
    options.add("fps", job_.fps, {0.1, 240}, "frames per second of a video");
  }

  void run(const Arguments& arguments, const CommonOptions& common, Progress& progress) override {
    check(arguments);
    const std::unique_ptr<Backend> backend = open_backend(common);
    const RenderResult result = render_model(*backend, job_, progress);
    progress.end();
    std::string said = fmt::format("{}: {} of {}x{}", output_, counted(result.frames, "frame"),
                                   result.file_width, result.file_height);
    if (result.file_width != result.width || result.file_height != result.height)
      said += fmt::format(" ({}x{}, padded: a video's sides are even)", result.width, result.height);
    if (result.removed > 0)
      said += fmt::format("; removed {} of an earlier rendering", counted(result.removed, "later frame"));
    progress.message(said);
  }

 private:
  void check(const Arguments& arguments) {
    if (output_.empty())
      throw UsageError("where should the pictures go? Add -o FILE.mp4, or -o FOLDER for PNG frames");
    require_existing(model_, "a run folder or a model file");
    job_.model = model_;
    job_.choice = shown_.choice();
    job_.output = output_;
    job_.dataset = dataset_;
    require_a_name(job_.output);
    if (has_extension(job_.output, ".mp4")) {
      require_writable_file(job_.output);
    } else if (!job_.output.has_extension()) {
      require_writable_folder(job_.output);
    } else {
      throw UsageError(
          fmt::format("'{}' is no kind of output this command writes; give a name that ends in .mp4, or a "
                      "folder (a name without extension) for PNG frames",
                      output_));
    }
    if (job_.split.empty()) {
      if (job_.truth || !dataset_.empty()) {
        throw UsageError(
            fmt::format("--{} needs --split NAME (test, train, …)", job_.truth ? "truth" : "dataset"));
      }
    } else {
      for (const char* key :
           {"frames", "azimuth", "elevation", "radius", "time", "back", "width", "height"}) {
        if (arguments.given(key)) {
          throw UsageError(
              fmt::format("--{} does not go with --split: its cameras and times are the dataset's", key));
        }
      }
    }
    if (job_.truth && job_.depth)
      throw UsageError("--truth does not go with --depth: the truth has no depth");
    take_range("azimuth", azimuth_, job_.orbit.azimuth_from, job_.orbit.azimuth_to);
    take_range("elevation", elevation_, job_.orbit.elevation_from, job_.orbit.elevation_to);
    take_range("time", time_, job_.orbit.time_from, job_.orbit.time_to);
  }

  static void take_range(const char* key, const std::vector<float>& values, double& from, double& to) {
    if (values.empty() || values.size() > 2) {
      throw UsageError(fmt::format("--{} takes one number or two (from,to), not {}", key, values.size()));
    }
    from = values.front();
    to = values.back();
  }

  std::string model_, output_, dataset_;
  std::vector<float> azimuth_{0, 360}, elevation_{0}, time_{0, 1};
  ModelOptions shown_;
  RenderJob job_;
};

}  // namespace

std::unique_ptr<Command> make_render_command() {
  return std::make_unique<RenderCommand>();
}

}  // namespace eg4d
