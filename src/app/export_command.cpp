#include <fmt/format.h>

#include "app/checks.h"
#include "app/command.h"
#include "app/model_options.h"
#include "app/open_backend.h"
#include "core/error.h"
#include "core/text_layout.h"
#include "io/folder.h"
#include "pipeline/export.h"

namespace eg4d {
namespace {

class ExportCommand : public Command {
 public:
  const char* name() const override { return "export"; }
  const char* summary() const override {
    return "a model becomes PLY files, a page to look at it, or a model folder of the Python EG4D";
  }
  const char* examples() const override {
    return "  eg4d export run -o object.ply --time 0.5      one moment, for SuperSplat, Blender, Unity, …\n"
           "  eg4d export run -o viewer.html                one page that opens in any browser, without a "
           "server\n"
           "  eg4d export run -o sequence --frames 25       sequence/frame_0000.ply, …\n"
           "  eg4d export run -o folder --format python     folder/point_cloud/iteration_N/, for the Python "
           "EG4D";
  }

  bool has_field() const override { return true; }
  void declare(Arguments& arguments) override {
    arguments.positional("MODEL", model_, "a run folder, a model file, or a model of the Python EG4D");
    ConfigSchema& options = arguments.options;
    options.add("output", output_, "a .ply file for one moment, an .html file, or a folder");
    arguments.short_name('o', "output");
    arguments.value_name("output", "FILE|FOLDER", true);
    options.add("format", job_.format, {{"ply", ExportFormat::ply}, {"python", ExportFormat::python}},
                "what to write");
    shown_.declare(arguments);
    options.add("time", job_.time, {0, 1}, "the moment that one file shows");
    options.add("up", job_.up, {{"-y", UpAxis::minus_y}, {"y", UpAxis::y}, {"z", UpAxis::z}},
                "where up is in a PLY: most viewers expect -y and turn it; z is that of the dataset");
    options.add(
        "frames", job_.frames, {0, 1e6},
        "moments of a sequence or page; 0: as many as the training video has, twice as many in a page");
  }

  void run(const Arguments& arguments, const CommonOptions& common, Progress& progress) override {
    check(arguments);
    const std::unique_ptr<Backend> backend = open_backend(common);
    const ExportResult result = export_model(*backend, job_, progress);
    progress.end();
    std::string said =
        result.files.size() == 1
            ? result.files.front().string()
            : fmt::format("{}: {}", output_, counted(static_cast<int64_t>(result.files.size()), "file"));
    if (is_page()) {
      const auto bytes = static_cast<double>(std::filesystem::file_size(result.files.front()));
      said += fmt::format(": {:.1f} MB, opens in any browser without a server", bytes / 1e6);
    }
    if (result.removed > 0)
      said += fmt::format("; removed {} of an earlier export", counted(result.removed, "later file"));
    progress.message(said);
  }

 private:
  void check(const Arguments& arguments) {
    if (output_.empty()) throw UsageError("where should it go? Add -o FILE.ply, -o FILE.html, or -o FOLDER");
    require_existing(model_, "a run folder or a model file");
    job_.model = model_;
    job_.choice = shown_.choice();
    job_.output = output_;
    require_a_name(job_.output);
    const bool one_file = has_extension(job_.output, ".ply") || is_page();
    if (!one_file && job_.output.has_extension()) {
      throw UsageError(
          fmt::format("'{}' is no kind of file this command writes; give a name that ends in .ply or .html, "
                      "or a folder (a name without extension)",
                      output_));
    }
    if (is_page()) {
      for (const char* key : {"time", "up"})
        if (arguments.given(key))
          throw UsageError(fmt::format("--{} is for PLY files: a page shows all of the object", key));
    }
    if (arguments.given("up") && job_.format == ExportFormat::python)
      throw UsageError("--up is for PLY files: the Python EG4D has z up");
    if (one_file && job_.format == ExportFormat::python) {
      throw UsageError("--format python writes a folder; give -o a name without extension");
    }
    if (job_.format == ExportFormat::python && arguments.given("color_time")) {
      throw UsageError(
          "--color-time does not go with --format python: that code asks for it when it renders "
          "(--render_ref_time)");
    }
    if (one_file && !is_page() && arguments.given("frames")) {
      throw UsageError("--frames asks for a sequence; give -o a folder (a name without extension)");
    }
    if (!one_file && arguments.given("time")) {
      throw UsageError("--time asks for one moment; give -o a name that ends in .ply");
    }
    if (one_file) {
      require_writable_file(job_.output);
    } else {
      require_writable_folder(job_.output);
    }
  }

  bool is_page() const { return has_extension(output_, ".html"); }

  std::string model_, output_;
  ModelOptions shown_;
  ExportJob job_;
};

}  // namespace

std::unique_ptr<Command> make_export_command() {
  return std::make_unique<ExportCommand>();
}

}  // namespace eg4d
