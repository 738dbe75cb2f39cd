#include <fmt/format.h>

#include <cstdio>

#include "app/checks.h"
#include "app/command.h"
#include "app/model_options.h"
#include "app/open_backend.h"
#include "io/atomic_file.h"
#include "pipeline/evaluate.h"

namespace eg4d {
namespace {

class EvaluateCommand : public Command {
 public:
  const char* name() const override { return "evaluate"; }
  const char* summary() const override { return "PSNR, SSIM, LPIPS and CLIP-I against a dataset's pictures"; }
  const char* examples() const override {
    return "  eg4d evaluate run                                  the test split of the run's own dataset\n"
           "  eg4d evaluate run examples/robot-192 --split novel --json novel.json\n"
           "  eg4d evaluate run --pictures compare               render | truth, side by side\n"
           "  eg4d evaluate run --html report.html               a page with pictures, errors and curves\n"
           "  eg4d evaluate run --all-figures                    MS-SSIM, D-SSIM, flicker, acceleration, "
           "CLIP-T too\n"
           "  eg4d evaluate run --reference picture.png          CLIP-S: how like the input the renders "
           "look\n"
           "  eg4d evaluate run --results out                    results.json, per_view.json as 4DGaussians' "
           "metrics\n"
           "LPIPS and CLIP figures need weights: eg4d models fetch alexnet lpips_alex clip_vit_l_14";
  }

  bool has_field() const override { return true; }
  void declare(Arguments& arguments) override {
    arguments.positional("MODEL", model_, "a run folder, a model file, or a model of the Python EG4D");
    arguments.positional("DATASET", dataset_, "the dataset; default: the one the model was trained on",
                         false);
    arguments.options.add("split", job_.split, "which pictures: NAME of a transforms_NAME.json");
    shown_.declare(arguments);
    arguments.value_name("split", "NAME");
    arguments.value_name("json", "FILE");
    arguments.value_name("html", "FILE");
    arguments.value_name("models_folder", "FOLDER");
    arguments.value_name("pictures", "FOLDER");
    arguments.options.add("json", json_, "file for all figures, per picture too");
    arguments.options.add("html", html_, "file for a page with pictures, error maps and curves over time");
    arguments.options.add("models_folder", models_folder_, "where to look for weights first");
    arguments.options.add("pictures", pictures_, "folder for every picture beside its truth");
    arguments.options.add(
        "all_figures", job_.all_figures,
        "MS-SSIM and D-SSIM (pictures above 160 pixels a side), and how pictures of a camera "
        "change with time: flicker, acceleration, CLIP-T");
    arguments.options.add("reference", reference_,
                          "a picture, such as the object's input: CLIP-S of every render to it");
    arguments.options.add(
        "results", results_,
        "folder for results.json and per_view.json, as the metrics program of 4DGaussians writes them");
    arguments.value_name("reference", "PICTURE");
    arguments.value_name("results", "FOLDER");
    arguments.options.add("views", views_, "print a line for every picture");
  }

  void run(const Arguments&, const CommonOptions& common, Progress& progress) override {
    require_existing(model_, "a run folder or a model file");
    job_.choice = shown_.choice();
    if (!dataset_.empty()) require_existing(dataset_, "a dataset folder");
    if (!json_.empty()) require_writable_file(json_);
    if (!html_.empty()) require_writable_file(html_);
    if (!pictures_.empty()) require_writable_folder(pictures_);
    if (!results_.empty()) require_writable_folder(results_);
    if (!reference_.empty()) require_existing(reference_, "a picture");
    job_.results = results_;
    job_.reference = reference_;
    job_.model = model_;
    job_.dataset = dataset_;
    job_.pictures = pictures_;
    job_.report = html_;
    job_.models_folder = models_folder_;
    const std::unique_ptr<Backend> backend = open_backend(common, Needs::networks);
    const EvaluateResult result = evaluate_model(*backend, job_, progress);
    progress.end();
    for (const std::string& line : result.left_out) progress.message(line);
    if (!json_.empty()) write_file_atomically(json_, to_json(result, job_.split) + "\n");
    if (!common.log_json) print(result);
    if (common.log_json) std::puts(to_json(result, job_.split).c_str());
  }

 private:
  void print(const EvaluateResult& result) const {
    const EvaluationMetrics& metrics = result.metrics;
    // perceptual(figure) chooses what of each further column is printed.
    const auto line = [&](const std::string& name, const std::string& time, double psnr, double ssim,
                          const auto& perceptual) {
      std::string text = fmt::format("{:<44} {:>6} {:>8.3f} {:>8.4f}", name, time, psnr, ssim);
      for (const auto& figure : result.perceptual) text += fmt::format(" {:>10.4f}", perceptual(figure));
      std::puts(text.c_str());
    };
    std::string heading = fmt::format("{:<44} {:>6} {:>8} {:>8}", "picture", "time", "PSNR", "SSIM");
    for (const auto& figure : result.perceptual) heading += fmt::format(" {:>10}", figure.title);
    std::puts(heading.c_str());
    for (size_t i = 0; views_ && i < metrics.views.size(); ++i) {
      const ViewMetrics& view = metrics.views[i];
      line(view.name, fmt::format("{:.3f}", view.time), view.psnr, view.ssim,
           [&](const auto& figure) { return figure.values[i]; });
    }
    line(fmt::format("mean of {} ({})", metrics.views.size(), job_.split), "", metrics.psnr, metrics.ssim,
         [](const auto& figure) { return figure.mean(); });
    for (const auto& figure : result.temporal)
      std::puts(fmt::format("{:<13} {:.5f}, truth {:.5f} (mean of {})", figure.title, figure.render,
                            figure.truth, figure.count)
                    .c_str());
    std::puts(fmt::format("{} iterations, {} Gaussians ({})", result.iterations, result.gaussians,
                          result.model.string())
                  .c_str());
  }

  std::string model_, dataset_, json_, html_, pictures_, models_folder_, reference_, results_;
  bool views_ = false;
  ModelOptions shown_;
  EvaluateJob job_;
};

}  // namespace

std::unique_ptr<Command> make_evaluate_command() {
  return std::make_unique<EvaluateCommand>();
}

}  // namespace eg4d
