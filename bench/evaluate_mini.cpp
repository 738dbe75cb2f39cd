// The quality of the mini models on creatures that their training never saw, as the program makes pictures:
//   build/release/bench/evaluate_mini
#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "backend/backend.h"
#include "io/atomic_file.h"
#include "measure.h"
#include "mini_quality.h"
#include "support/places.h"

namespace eg4d::bench {
namespace {

class EvaluateMini : public Command {
 public:
  const char* name() const override { return "evaluate_mini"; }
  const char* summary() const override { return "quality of the mini models on held-out creatures"; }
  const char* examples() const override {
    return "  evaluate_mini                                   everything, with the settings of preset mini\n"
           "  evaluate_mini --count 4 --parts views,flicker\n"
           "  evaluate_mini --multiview.sampler.steps 12 --multiview.guidance.max 2 --json figures.json";
  }
  void declare(Arguments& arguments) override {
    arguments.options.add("held_out", held_out_, "folder of training/make_heldout.py");
    arguments.options.add("models_folder", models_folder_, "where to look for weights first");
    arguments.options.add("count", count_, {1, 1e6}, "creatures of each kind, at most");
    arguments.options.add("parts", parts_, "of autoencoder, views, flicker, clips, mending");
    arguments.options.add("grids", grids_, "also writes pictures to look at to this folder");
    arguments.options.add("json", json_, "also writes the figures to this file");
    options_.bind(schema_);
    arguments.settings(schema_, generate_presets(), "mini");
  }

  void run(const Arguments&, const CommonOptions& common, Progress& progress) override {
    const HeldOut data = read_held_out(held_out_, static_cast<size_t>(count_));
    const std::unique_ptr<Backend> backend = make_backend(common.device);
    const GenerateModels models = find_generate_models("mini", models_folder_);
    MiniQuality quality(*backend, models, options_, data, progress);
    if (wanted("autoencoder")) show("autoencoder", quality.autoencoder(), progress);
    if (wanted("views")) show("views", quality.views(), progress);
    if (wanted("flicker")) show("flicker", quality.flicker(static_cast<size_t>(count_)), progress);
    if (wanted("clips")) show("clips", quality.clips(), progress);
    if (wanted("mending")) show("mending", quality.mending(), progress);
    if (!json_.empty()) write_file_atomically(json_, figures_.dump(2) + "\n");
  }

 private:
  bool wanted(const std::string& part) const { return parts_.find(part) != std::string::npos; }

  void show(const std::string& part, const QualityTable& quality, Progress& progress) {
    progress.end();
    fmt::print("\n{}\n\n", quality.title);
    std::vector<std::string> head = {""};
    head.insert(head.end(), quality.columns.begin(), quality.columns.end());
    Table table(head);
    for (const QualityRow& row : quality.rows) {
      std::vector<std::string> cells = {row.name};
      for (const std::string& column : quality.columns) {
        const auto figure = row.figures.find(column);
        cells.push_back(figure == row.figures.end() ? ""
                        : column == "PSNR"          ? fmt::format("{:.2f} dB", figure->second)
                                                    : fmt::format("{:.4f}", figure->second));
      }
      table.row(cells);
      figures_[quality.title][row.name] = row.figures;
    }
    std::fflush(stdout);
    if (grids_.empty() || quality.pictures.empty()) return;
    std::filesystem::create_directories(grids_);
    write_png(std::filesystem::path(grids_) / (part + ".png"), grid_of(quality.pictures));
  }

  std::string held_out_ = test::examples() / "heldout", models_folder_, json_, grids_;
  std::string parts_ = "autoencoder,views,flicker,clips,mending";
  int count_ = 12;
  GenerateOptions options_;
  ConfigSchema schema_;
  nlohmann::ordered_json figures_;
};

}  // namespace
}  // namespace eg4d::bench

int main(int argc, char** argv) {
  std::vector<std::unique_ptr<eg4d::Command>> commands;
  commands.push_back(std::make_unique<eg4d::bench::EvaluateMini>());
  std::string name = commands.front()->name();
  std::vector<char*> words(argv, argv + argc);
  words.insert(words.begin() + 1, name.data());
  return eg4d::run_program(static_cast<int>(words.size()), words.data(), commands);
}
