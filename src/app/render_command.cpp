#include <fmt/format.h>

#include <cstdio>
#include <initializer_list>

#include "app/checks.h"
#include "app/command.h"
#include "app/model_options.h"
#include "app/open_backend.h"
#include "core/error.h"
#include "core/log.h"
#include "core/text_layout.h"
#include "io/folder.h"
#include "pipeline/frame_output.h"
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
           "  eg4d render run -o train.mp4 --split train --color-time own   colours of each frame's own "
           "time\n"
           "  eg4d render run -o over.webm --background transparent   shows over a web page; .mov for "
           "editing\n"
           "  eg4d render run -o path.mp4 --path keys.json            a path through cameras of your own\n"
           "  eg4d render run -o out/test --split test --python-folders    renders/, gt/, video_rgb.mp4";
  }

  bool has_field() const override { return true; }
  void declare(Arguments& arguments) override {
    arguments.positional("MODEL", model_, "a run folder, a model file, or a model of the Python EG4D");
    ConfigSchema& options = arguments.options;
    options.add("output", output_, "a video (.mp4, .webm, .mov), or a folder for PNG frames");
    arguments.short_name('o', "output");
    shown_.declare(arguments);
    arguments.value_name("output", "FILE|FOLDER", true);
    arguments.value_name("azimuth", "X[,Y]");
    arguments.value_name("elevation", "X[,Y]");
    arguments.value_name("time", "X[,Y]");
    arguments.value_name("size", "N|WxH");
    arguments.value_name("split", "NAME");
    arguments.value_name("path", "NAME|FILE");
    arguments.value_name("dataset", "FOLDER");
    options.add("frames", job_.orbit.frames, {1, 1e6}, "pictures of the orbit");
    options.add("azimuth", azimuth_, {-36000, 36000}, "degrees, or from,to");
    options.add("elevation", elevation_, {-90, 90}, "degrees, or from,to");
    options.add("radius", job_.orbit.radius, {0, 1e4}, "distance of the camera; 0: as the training cameras");
    options.add("time", time_, {0, 1}, "moment of the object, or from,to");
    options.add("back", job_.orbit.back, "time runs forward and back; --no-back: forward only");
    options.add("width", job_.width, {0, 16384}, "pixels; 0: as the training pictures");
    options.add("height", job_.height, {0, 16384}, "pixels; 0: as the training pictures");
    options.add("size", size_, "width and height in one: 800, or 1280x720");
    options.add("supersample", job_.supersample, {1, 16},
                "renders pictures so many times larger and averages them: finer edges, slower");
    options.add(
        "path", path_,
        "instead of an orbit: video (the dataset's views in turn), eg4d (the published orbit: 75 frames "
        "from -45, 0, 45 degrees), or a JSON file of key cameras (docs/rendering.md)");
    options.add("split", job_.split, "cameras and times of transforms_NAME.json instead of an orbit");
    options.add("dataset", dataset_,
                "dataset of --split and --path video; default: the one the model was trained on");
    options.add("truth", job_.truth,
                "with --split or --path video: the dataset's picture beside the rendered one");
    options.add("depth", job_.depth, "depth instead of colour: grey, near is bright");
    options.add("normals", job_.normals,
                "which way surfaces face, in the camera's axes: red right, green up, blue to the camera");
    options.add("background", job_.background,
                {{"model", RenderBackground::as_trained},
                 {"white", RenderBackground::white},
                 {"black", RenderBackground::black},
                 {"transparent", RenderBackground::transparent}},
                "behind the object; model: as in training; transparent: pictures, .webm and .mov with alpha");
    options.add("webp", job_.webp, "a folder's frames are lossless WebP instead of PNG");
    options.add("python_folders", job_.reference_folders,
                "FOLDER as the Python program fills it: renders/00000.png, with --split gt/00000.png, and "
                "video_rgb.mp4");
    options.add("fps", job_.fps, {0.1, 240}, "frames per second of a video");
  }

  void run(const Arguments& arguments, const CommonOptions& common, Progress& progress) override {
    check(arguments);
    const std::unique_ptr<Backend> backend = open_backend(common);
    const RenderResult result = render_model(*backend, job_, progress);
    progress.end();
    if (has_extension(job_.output, ".mp4") && result.encoder == "mpeg4")
      warn(
          "FFmpeg here has no H.264 encoder (libx264, libopenh264): players show this MPEG-4 video, browsers "
          "do not");
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
    if (is_video_name(job_.output)) {
      require_writable_file(job_.output);
    } else if (!job_.output.has_extension()) {
      require_writable_folder(job_.output);
    } else {
      throw UsageError(fmt::format(
          "'{}' is no kind of output this command writes; give a name that ends in .mp4, .webm or "
          ".mov, or a folder (a name without extension) for PNG frames",
          output_));
    }
    check_kind();
    check_cameras(arguments);
    take_range("azimuth", azimuth_, job_.orbit.azimuth_from, job_.orbit.azimuth_to);
    take_range("elevation", elevation_, job_.orbit.elevation_from, job_.orbit.elevation_to);
    take_range("time", time_, job_.orbit.time_from, job_.orbit.time_to);
    if (arguments.given("size")) take_size(arguments);
  }

  // What is shown, and in which kind of file.
  void check_kind() const {
    const bool video = is_video_name(job_.output);
    if (has_extension(job_.output, ".mp4") && job_.background == RenderBackground::transparent)
      throw UsageError(
          "an .mp4 has no transparency: give a name that ends in .webm (browsers) or .mov (editing), or a "
          "folder");
    if (video && (job_.webp || job_.reference_folders))
      throw UsageError(
          fmt::format("--{} is for a folder; {} is a video", job_.webp ? "webp" : "python-folders", output_));
    if (job_.webp && job_.reference_folders)
      throw UsageError("--webp does not go with --python-folders: its pictures are PNGs");
    if (job_.depth && job_.normals)
      throw UsageError("--depth does not go with --normals: a frame shows one of them");
    if (job_.truth && (job_.depth || job_.normals))
      throw UsageError(fmt::format("--truth does not go with --{0}: the truth has no {0}",
                                   job_.depth ? "depth" : "normals"));
    if (job_.truth && job_.background != RenderBackground::as_trained)
      throw UsageError("--truth does not go with --background: the truth is on the model's");
    if (job_.truth && job_.reference_folders)
      throw UsageError("--truth does not go with --python-folders: the truth is in gt/");
  }

  void check_cameras(const Arguments& arguments) {
    const bool of_dataset = !job_.split.empty() || path_ == "video";
    if (!of_dataset && (job_.truth || !dataset_.empty()))
      throw UsageError(
          fmt::format("--{} needs --split NAME (test, train, …)", job_.truth ? "truth" : "dataset"));
    if (!job_.split.empty() && !path_.empty())
      throw UsageError("--path does not go with --split: both say where the cameras are");
    const auto refuse = [&](std::initializer_list<const char*> keys, const std::string& reason) {
      for (const char* key : keys)
        if (arguments.given(key)) throw UsageError(fmt::format("--{} does not go with {}", key, reason));
    };
    const bool keys = !path_.empty() && path_ != "video" && path_ != "eg4d";
    if (!job_.split.empty())
      refuse({"frames", "azimuth", "elevation", "radius", "time", "back", "width", "height", "size"},
             "--split: its cameras and times are the dataset's");
    else if (path_ == "video")
      refuse({"frames", "azimuth", "elevation", "radius", "time", "back", "width", "height", "size"},
             "--path video: its cameras and times are the dataset's");
    else if (path_ == "eg4d")
      refuse({"frames", "azimuth", "elevation", "radius", "time", "back"},
             "--path eg4d: the published orbit has them");
    else if (keys)
      refuse({"azimuth", "elevation", "radius"}, "--path: the file says where the cameras are");
    if (keys) {
      require_existing(path_, "a JSON file of key cameras (or video, or eg4d)");
      if (arguments.given("frames")) job_.path_frames = job_.orbit.frames;
    }
    job_.path = path_;
  }

  void take_size(const Arguments& arguments) {
    for (const char* key : {"width", "height"})
      if (arguments.given(key)) throw UsageError(fmt::format("--{} does not go with --size", key));
    int width = 0, height = 0, end = 0;
    const bool both = std::sscanf(size_.c_str(), "%5dx%5d%n", &width, &height, &end) == 2;
    if (!both) {
      end = 0;
      if (std::sscanf(size_.c_str(), "%5d%n", &width, &end) == 1) height = width;
    }
    if (static_cast<size_t>(end) != size_.size() || width < 1 || height < 1 || width > 16384 ||
        height > 16384)
      throw UsageError(fmt::format(
          "--size is one number or WIDTHxHEIGHT, 1 to 16384 pixels each (800, 1280x720), not '{}'", size_));
    job_.width = width;
    job_.height = height;
  }

  static void take_range(const char* key, const std::vector<float>& values, double& from, double& to) {
    if (values.empty() || values.size() > 2) {
      throw UsageError(fmt::format("--{} takes one number or two (from,to), not {}", key, values.size()));
    }
    from = values.front();
    to = values.back();
  }

  std::string model_, output_, dataset_, path_, size_;
  std::vector<float> azimuth_{0, 360}, elevation_{0}, time_{0, 1};
  ModelOptions shown_;
  RenderJob job_;
};

}  // namespace

std::unique_ptr<Command> make_render_command() {
  return std::make_unique<RenderCommand>();
}

}  // namespace eg4d
