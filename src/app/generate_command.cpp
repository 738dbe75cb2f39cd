#include <fmt/format.h>

#include <algorithm>

#include "app/checks.h"
#include "app/command.h"
#include "app/open_backend.h"
#include "core/error.h"
#include "io/folder.h"
#include "io/video.h"
#include "pipeline/generate.h"
#include "scene/frame_source.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

class GenerateCommand : public Command {
 public:
  const char* name() const override { return "generate"; }
  const char* summary() const override { return "one picture becomes an animated 3D object (all stages)"; }
  const char* examples() const override {
    return "  eg4d generate photo.png -o run          orbit.mp4, object.ply and report.html in run/\n"
           "  eg4d generate a.png b.png -o runs       the same for each, in runs/a and runs/b; also for a "
           "folder\n"
           "  eg4d generate --video clip.mp4 -o run   of a video that is there already\n"
           "  eg4d generate photo.png -o run --preset paper --prompt \"a red toy robot\"\n"
           "  eg4d generate photo.png -o run --seed 7 --multiview.elevation 10\n"
           "  eg4d generate photo.png -o run --refine.iterations 500 --overwrite   another refinement; the "
           "stages before it stay\n"
           "Ctrl-C stops; the same command continues. Without the published weights (eg4d models list) the "
           "mini models that come with the program are taken: a demonstration.\n"
           "Then: eg4d render run -o turn.mp4; eg4d export run -o sequence/";
  }

  bool has_field() const override { return true; }
  void declare(Arguments& arguments) override {
    arguments.positionals_of("PICTURE", pictures_, "pictures (PNG, JPEG, WebP), or folders of them", false);
    arguments.options.add(
        "video", video_,
        "instead of pictures: a video file or a folder of frames, of which animate.frames are "
        "taken, evenly in time, where otherwise Stage I-a would paint them");
    arguments.value_name("video", "FILE|FOLDER");
    arguments.options.add("output", output_, "run folder; with several pictures the folder of their runs");
    arguments.short_name('o', "output");
    arguments.options.add("prompt", prompt_, "what the pictures show, for the refinement; may be empty");
    arguments.options.add("models_folder", models_folder_, "where to look for weights first");
    arguments.options.add("overwrite", overwrite_,
                          "make anew what the run folder holds of other settings, and what follows from it; "
                          "without this it is an error");
    arguments.options.add("seed", seed_,
                          "one random seed for all stages, instead of each stage's own (animate.seed, …)");
    arguments.value_name("seed", "N");
    arguments.value_name("output", "RUN", true);
    arguments.value_name("models_folder", "FOLDER");
    job_.options.bind(schema_);
    arguments.settings(schema_, generate_presets(), "chosen by the weights that are found");
    arguments.choose_preset([this] {
      const PresetChoice choice = choose_generate_preset(models_folder_);
      job_.preset_reason = choice.reason;
      return choice.preset;
    });
  }

  void run(const Arguments& arguments, const CommonOptions& common, Progress& progress) override {
    if (pictures_.empty() == video_.empty())
      throw UsageError(video_.empty() ? "PICTURE is missing: pictures (PNG, JPEG, WebP), or folders of them"
                                      : "give pictures or --video, not both");
    require_output(output_);
    collect_items();
    if (!seed_.empty()) spread_seed(arguments);
    job_.overwrite = overwrite_;
    job_.preset = arguments.preset_name.empty() ? "paper" : arguments.preset_name;
    if (job_.preset_reason.empty()) job_.preset_reason = "as asked";
    if (!prompt_.empty()) job_.options.painting.prompt = prompt_;
    progress.message(fmt::format("preset {}: {}", job_.preset, job_.preset_reason));
    job_.models = find_generate_models(job_.preset, models_folder_);
    const std::unique_ptr<Backend> backend = open_backend(common, Needs::networks);
    generate(*backend, job_, progress);
    progress.end();
    for (const auto& item : job_.items)
      progress.message(fmt::format("orbit: {0}/{1}\nobject: {0}/object.ply\nreport: {0}/report.html",
                                   item.run.string(), can_write_videos() ? "orbit.mp4" : "orbit"));
  }

 private:
  // A stage's own seed on the command line wins.
  void spread_seed(const Arguments& arguments) {
    for (const ConfigOption& option : schema_.options())
      if (option.key.ends_with(".seed") && !arguments.given(option.key))
        schema_.set(option.key, seed_, "--seed");
  }

  void collect_items() {
    if (!video_.empty()) {
      require_existing(video_, "a video or a folder of frames");
      job_.items.push_back({video_, output_, true});
      return;
    }
    std::vector<fs::path> files;
    for (const std::string& named : pictures_) {
      require_existing(named, "a picture (PNG, JPEG or WebP) or a folder of pictures");
      if (fs::is_directory(named)) {
        const std::vector<fs::path> inside = picture_files(named);
        files.insert(files.end(), inside.begin(), inside.end());
      } else {
        files.emplace_back(named);
      }
    }
    if (files.empty()) throw Error(fmt::format("there are no pictures in '{}'", pictures_.front()));
    for (const fs::path& file : files) {
      const fs::path run = files.size() == 1 ? fs::path(output_) : fs::path(output_) / file.stem();
      for (const auto& other : job_.items)
        if (other.run == run)
          throw UsageError(fmt::format("'{}' and '{}' would share the run folder '{}': rename one",
                                       other.picture.string(), file.string(), run.string()));
      job_.items.push_back({file, run});
    }
  }

  std::vector<std::string> pictures_;
  std::string video_, output_, prompt_, seed_, models_folder_;
  bool overwrite_ = false;
  GenerateJob job_;
  ConfigSchema schema_;
};

}  // namespace

std::unique_ptr<Command> make_generate_command() {
  return std::make_unique<GenerateCommand>();
}

}  // namespace eg4d
