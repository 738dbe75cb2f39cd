// A dataset of another size out of a trained model: every camera and time of every split of the dataset that
// it was trained on, rendered as PNG, in the same layout. Cameras are known and pictures exact (a model that
// is like this one can reach them to their rounding), so whole runs at sizes that nothing was filmed in can
// be measured.
//   render_dataset MODEL DATASET WIDTH OUTPUT [DEVICE]

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>

#include "backend/backend.h"
#include "core/error.h"
#include "core/threads.h"
#include "io/atomic_file.h"
#include "io/background_writer.h"
#include "io/folder.h"
#include "io/json_file.h"
#include "measure.h"
#include "pipeline/open_model.h"
#include "pipeline/pictures.h"
#include "scene/dataset.h"
#include "splat/evaluation.h"

namespace eg4d::bench {
namespace {

namespace fs = std::filesystem;

struct Shot {
  Camera camera;
  float time = 0;
  fs::path name;  // relative to the dataset, without extension
};

std::string transforms_name(const std::string& split) {
  return "transforms_" + split + ".json";
}

class Rendering {
 public:
  Rendering(Backend& backend, const fs::path& model, const fs::path& dataset, int width, fs::path output)
      : backend_(backend),
        model_(open_model(backend, model)),
        dataset_(dataset),
        width_(width),
        output_(std::move(output)) {}

  size_t run() {
    std::vector<Shot> shots;
    for (const std::string& split : dataset_.split_names()) add_shots(split, shots);
    // Pictures of one time share one evaluation of the field.
    std::stable_sort(shots.begin(), shots.end(),
                     [](const Shot& a, const Shot& b) { return a.time < b.time; });
    draw(shots);
    for (const std::string& split : dataset_.split_names()) write_transforms(split);
    if (fs::exists(dataset_.folder() / "points3d.ply"))
      fs::copy_file(dataset_.folder() / "points3d.ply", output_ / "points3d.ply",
                    fs::copy_options::overwrite_existing);
    return shots.size();
  }

 private:
  // Relative to the dataset. An extension that the JSON gives is the original picture's.
  fs::path name_of(const fs::path& file) const {
    return file.lexically_relative(dataset_.folder()).replace_extension();
  }

  void add_shots(const std::string& split, std::vector<Shot>& shots) {
    const ReconstructOptions& options = model_.info.options;
    const VerticalFov rule =
        options.data.swapped_fov ? VerticalFov::reference_swapped : VerticalFov::from_aspect;
    for (const DatasetFrame& frame : dataset_.read_split(split).frames) {
      const fs::path name = name_of(frame.file);
      if (!named_.insert(name).second) continue;
      const Camera camera =
          make_camera(frame.camera_to_world, frame.width, frame.height, frame.intrinsics, rule);
      scale_ = static_cast<double>(width_) / frame.width;
      const int height = std::max(1, static_cast<int>(frame.height * scale_ + 0.5));
      shots.push_back({camera.resized(width_, height),
                       static_cast<float>(std::clamp(frame.time / model_.info.largest_time, 0.0, 1.0)),
                       name});
      make_folder((output_ / name).parent_path());
    }
  }

  void draw(const std::vector<Shot>& shots) {
    const ReconstructOptions& options = model_.info.options;
    Renderer renderer(backend_, render_options(options));
    const int threads = std::max(1, thread_count());
    BackgroundWriter files({.threads = threads, .jobs = 2 * threads});
    for (size_t i = 0; i < shots.size(); ++i) {
      const Shot& shot = shots[i];
      if (i == 0 || shot.time != shots[i - 1].time)
        renderer.deform(model_.gaussians, model_.active_field(), shot.time, color_time(options, shot.time),
                        false);
      Picture picture = to_picture(renderer.render(shot.camera).image);
      const size_t bytes = picture.data.size();
      files.push(bytes, [path = output_ / (shot.name.string() + ".png"), picture = std::move(picture)] {
        write_png(path, picture);
      });
    }
    files.finish();
  }

  // The same poses and angles; what is told in pixels grows with the pictures.
  void write_transforms(const std::string& split) const {
    auto json = read_json<nlohmann::ordered_json>(dataset_.folder() / transforms_name(split));
    const auto scale_pixels = [this](nlohmann::ordered_json& object) {
      for (const char* key : {"w", "h", "fl_x", "fl_y", "cx", "cy"})
        if (object.contains(key) && object[key].is_number()) object[key] = object[key].get<double>() * scale_;
    };
    scale_pixels(json);
    const DatasetSplit& known = dataset_.read_split(split);
    for (size_t i = 0; i < known.frames.size(); ++i) {
      nlohmann::ordered_json& frame = json["frames"][i];
      scale_pixels(frame);
      frame["file_path"] = name_of(known.frames[i].file).generic_string();
    }
    write_file_atomically(output_ / transforms_name(split), json.dump(1) + "\n");
  }

  Backend& backend_;
  const Model model_;
  const Dataset dataset_;
  const int width_;
  const fs::path output_;
  double scale_ = 1;
  std::set<fs::path> named_;
};

}  // namespace
}  // namespace eg4d::bench

int main(int argc, char** argv) {
  const int width = argc > 3 ? std::atoi(argv[3]) : 0;
  if (argc < 5 || width < 1) {
    std::fputs("render_dataset MODEL DATASET WIDTH OUTPUT [DEVICE]\n", stderr);
    return 2;
  }
  try {
    const double begin = eg4d::bench::wall_seconds();
    const auto backend = eg4d::make_backend(argc > 5 ? argv[5] : "auto");
    const size_t pictures = eg4d::bench::Rendering(*backend, argv[1], argv[2], width, argv[4]).run();
    fmt::print("{} pictures of width {} on {} in {:.1f} s\n", pictures, width, backend->name(),
               eg4d::bench::wall_seconds() - begin);
  } catch (const eg4d::Error& error) {
    std::fputs((std::string(error.what()) + "\n").c_str(), stderr);
    return 1;
  }
  return 0;
}
