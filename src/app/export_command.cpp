#include <fmt/format.h>

#include <algorithm>

#include "app/checks.h"
#include "app/command.h"
#include "app/mesh_options.h"
#include "app/model_options.h"
#include "app/open_backend.h"
#include "core/error.h"
#include "core/text_layout.h"
#include "formats/splat_file.h"
#include "io/folder.h"
#include "pipeline/export.h"

namespace eg4d {
namespace {

class ExportCommand : public Command {
 public:
  const char* name() const override { return "export"; }
  const char* summary() const override {
    return "a model becomes a file for another program, a page to look at it, or a sequence of files";
  }
  const char* examples() const override {
    return "  eg4d export run -o object.ply --time 0.5      one moment, for SuperSplat, Blender, Unity, …\n"
           "  eg4d export run -o object.spz --sh-degree 1   small: also .compressed.ply, .sog, .splat\n"
           "  eg4d export run -o object.glb                 glTF with KHR_gaussian_splatting\n"
           "  eg4d export run -o object.splat4d             all of its time in one file: also .splatv, "
           ".usda\n"
           "  eg4d export run -o object.glb --mesh depth    a textured surface that moves: also .usda\n"
           "  eg4d export run -o object.obj --time 0.5      a textured surface of one moment\n"
           "  eg4d export object.sog -o object.ply          any file of Gaussians becomes another\n"
           "  eg4d export run -o viewer.html                one page that opens in any browser, without a "
           "server\n"
           "  eg4d export run -o sequence --frames 25       sequence/frame_0000.ply, …\n"
           "  eg4d export run -o folder --format python     folder/point_cloud/iteration_N/, for the Python "
           "EG4D";
  }

  bool has_field() const override { return true; }
  void declare(Arguments& arguments) override {
    arguments.positional("MODEL", model_,
                         "a run folder, a model file, a model of the Python EG4D, or a file of Gaussians");
    ConfigSchema& options = arguments.options;
    options.add("output", output_,
                fmt::format("a file of one moment ({}) or of all time ({}), an .html page, or a folder",
                            extensions(false), extensions(true)));
    arguments.short_name('o', "output");
    arguments.value_name("output", "FILE|FOLDER", true);
    options.add("format", job_.format, folder_formats(), "what to write into a folder");
    shown_.declare(arguments);
    options.add("time", job_.time, {0, 1}, "the moment that one file shows");
    options.add(
        "frames", job_.frames, {0, 1e6},
        "moments of a sequence, page or file of all time; 0: as many as the training video has, twice "
        "as many in a page");
    options.add("fps", job_.fps, {0.1, 240}, "frames per second of a file of all time");
    options.add(
        "up", job_.up,
        {{"auto", UpAxis::automatic}, {"-y", UpAxis::minus_y}, {"y", UpAxis::y}, {"z", UpAxis::z}},
        "where up is in the file; auto: what its readers expect (y in .spz, .glb, .usda, otherwise -y)");
    options.add("scale", job_.scale, {1e-6, 1e6}, "size, about the origin");
    options.add("sh_degree", job_.sh_degree, {0, 3}, "harmonics (colours by direction) kept; 0: none");
    options.add("min_opacity", job_.min_opacity, {0, 1},
                "leaves out Gaussians that are never as opaque as that");
    options.add("error_bound", job_.writing.error_bound, {0, 1e6},
                "largest error of a position in .spz and .splat4d; 0: an 8192th of the object's size");
    options.add("sh_bits", job_.writing.sh_bits, {1, 8}, "bits of a harmonic in .spz");
    options.add("spz_version", job_.writing.spz_version, {3, 4},
                "of .spz; 4 is of 2026 and compresses better");
    options.add("palette", job_.writing.palette, {1, 65536}, "different sets of harmonics in .sog");
    mesh_.declare(arguments);
    options.add("check", job_.check,
                "tells how the file, read again, looks beside the model (dB); of a mesh: how it looks");
  }

  void run(const Arguments& arguments, const CommonOptions& common, Progress& progress) override {
    check(arguments);
    const std::unique_ptr<Backend> backend = open_backend(common);
    const ExportResult result = export_model(*backend, job_, progress);
    progress.end();
    progress.message(report(result));
  }

 private:
  // ".ply, .splat, …": those of one moment, or of all time.
  static std::string extensions(bool moves) {
    std::string list;
    for (const splat::SplatFormat& format : splat::splat_formats())
      if (format.moves == moves) list += (list.empty() ? "" : ", ") + std::string(format.extension);
    return list;
  }

  static std::vector<std::pair<std::string, ExportFormat>> folder_formats() {
    std::vector<std::pair<std::string, ExportFormat>> names;
    const auto formats = splat::splat_formats();
    for (size_t i = 0; i < formats.size(); ++i)
      if (formats[i].write) names.emplace_back(formats[i].key, static_cast<ExportFormat>(i));
    names.emplace_back("obj", ExportFormat::obj);
    names.emplace_back("python", ExportFormat::python);
    return names;
  }

  std::string report(const ExportResult& result) const {
    std::string said =
        result.files.size() == 1
            ? result.files.front().string()
            : fmt::format("{}: {}", output_, counted(static_cast<int64_t>(result.files.size()), "file"));
    double bytes = 0;
    for (const auto& file : result.files) bytes += static_cast<double>(std::filesystem::file_size(file));
    said += fmt::format(": {:.{}f} MB", bytes / 1e6, bytes < 1e6 ? 3 : 1);
    if (is_page()) said += ", opens in any browser without a server";
    if (!result.surface.empty()) said += ", " + result.surface;
    if (result.gaussians > 0) said += ", " + counted(result.gaussians, "Gaussian");
    if (result.pruned > 0) said += fmt::format(" ({} left out for their opacity)", result.pruned);
    if (result.psnr) said += fmt::format(", {:.1f} dB from the model", *result.psnr);
    if (result.fit_error > 0) said += fmt::format(", positions fitted to {:.2g}", result.fit_error);
    if (result.removed > 0)
      said += fmt::format("; removed {} of an earlier export", counted(result.removed, "later file"));
    return said;
  }

  void check(const Arguments& arguments) {
    if (output_.empty()) throw UsageError("where should it go? Add -o FILE.ply, -o FILE.html, or -o FOLDER");
    require_existing(model_, "a run folder or a model file");
    job_.model = model_;
    job_.choice = shown_.choice();
    job_.output = output_;
    require_a_name(job_.output);
    if (mesh_.wanted(arguments, job_)) {
      mesh_.apply(arguments, job_);
      if (job_.output.has_extension())
        require_writable_file(job_.output);
      else
        require_writable_folder(job_.output);
      return;
    }
    MeshOptions::refuse(arguments);
    const splat::SplatFormat* format = splat::splat_format_of(job_.output);
    const bool one_file = format || is_page();
    if (!one_file && job_.output.has_extension())
      throw UsageError(fmt::format(
          "'{}' is no kind of file this command writes; give a name that ends in {}, {} or .html, "
          "or a folder (a name without extension)",
          output_, extensions(false), extensions(true)));
    if (one_file && job_.format == ExportFormat::python)
      throw UsageError("--format python writes a folder; give -o a name without extension");
    if (one_file && arguments.given("format") && (!format || job_.format != number_of(*format)))
      throw UsageError("--format says what a folder receives; a file's name says what it is");
    if (job_.format == ExportFormat::python && arguments.given("color_time"))
      throw UsageError(
          "--color-time does not go with --format python: that code asks for it when it renders "
          "(--render_ref_time)");
    if (is_page() || job_.format == ExportFormat::python) check_no_settings(arguments);
    if (format && !format->moves && arguments.given("frames"))
      throw UsageError("--frames asks for a sequence; give -o a folder (a name without extension)");
    if ((!one_file || is_page() || format->moves) && arguments.given("time"))
      throw UsageError(is_page() ? "--time is for files of Gaussians: a page shows all of the object"
                                 : "--time asks for one moment; give -o a name that ends in .ply");
    if (!format && !one_file && job_.format != ExportFormat::python)
      format = &splat::splat_formats()[static_cast<size_t>(job_.format)];
    if (format) check_settings(arguments, *format);
    if (one_file) {
      require_writable_file(job_.output);
    } else {
      require_writable_folder(job_.output);
    }
  }

  static ExportFormat number_of(const splat::SplatFormat& format) {
    return static_cast<ExportFormat>(&format - splat::splat_formats().data());
  }

  void check_no_settings(const Arguments& arguments) const {
    for (const char* key : {"up", "scale", "sh_degree", "min_opacity", "fps", "error_bound", "sh_bits",
                            "spz_version", "palette", "check"})
      if (arguments.given(key))
        throw UsageError(fmt::format(
            "--{} is for files of Gaussians: {}", with_dashes(key),
            is_page() ? "a page shows all of the object" : "the Python EG4D has the model as it is, z up"));
  }

  // What a format has no use for is refused.
  void check_settings(const Arguments& arguments, const splat::SplatFormat& format) const {
    const std::string_view key = format.key;
    const std::pair<const char*, bool> uses[] = {{"fps", key == "splat4d" || key == "usda"},
                                                 {"error_bound", format.by_position_bound},
                                                 {"sh_bits", key == "spz"},
                                                 {"spz_version", key == "spz"},
                                                 {"palette", key == "sog"},
                                                 {"sh_degree", format.sh_degree > 0},
                                                 {"check", format.decode != nullptr}};
    if (key == "usda" && job_.up == UpAxis::minus_y)
      throw UsageError("USD has y or z up; give --up y or --up z");
    for (const auto& [option, used] : uses)
      if (arguments.given(option) && !used)
        throw UsageError(
            fmt::format("--{} says nothing to a {} file", with_dashes(option), format.extension));
  }

  static std::string with_dashes(std::string key) {
    std::replace(key.begin(), key.end(), '_', '-');
    return key;
  }

  bool is_page() const { return has_extension(output_, ".html"); }

  std::string model_, output_;
  ModelOptions shown_;
  MeshOptions mesh_;
  ExportJob job_;
};

}  // namespace

std::unique_ptr<Command> make_export_command() {
  return std::make_unique<ExportCommand>();
}

}  // namespace eg4d
