#include "pipeline/evaluate.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "backend/backend.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "io/folder.h"
#include "pipeline/evaluation_report.h"
#include "pipeline/open_model.h"
#include "pipeline/pictures.h"
#include "pipeline/reference_results.h"
#include "pipeline/views.h"

namespace eg4d {
namespace {

nlohmann::json metrics_json(double psnr, double ssim, double l1) {
  return {{"psnr", psnr}, {"ssim", ssim}, {"l1", l1}};
}

// "views/00000001/images/00000003.png" -> "views_00000001_images_00000003.png"
std::string flat_name(const std::string& name) {
  std::string flat = std::filesystem::path(name).replace_extension(".png").generic_string();
  for (char& letter : flat) {
    if (letter == '/') letter = '_';
  }
  return flat;
}

}  // namespace

EvaluateResult evaluate_model(Backend& backend, const EvaluateJob& job, Progress& progress) {
  EvaluateResult result;
  const Dataset dataset(dataset_of_model(job.model, job.dataset));
  const DatasetSplit& split = dataset.read_split(job.split);
  const Model model = open_model(backend, job.model, job.choice);
  if (!job.pictures.empty()) make_folder(job.pictures);
  if (!job.results.empty()) make_folder(job.results);
  const TrainingViews views =
      load_views(backend, dataset, split, model.info.options, model.info.largest_time);
  // 4DGaussians' files have MS-SSIM.
  const bool all = job.all_figures || !job.results.empty();
  PerceptualFigures perceptual(backend, job.models_folder, views.size(),
                               {.all = all, .reference = job.reference});
  TemporalFigures temporal;
  EvaluationReport report(views.size());
  int64_t done = 0;
  progress.begin(static_cast<int64_t>(views.size()), "evaluating " + job.split);
  result.metrics = evaluate(backend, model.gaussians, model.active_field(), model.info.options, views,
                            [&](size_t index, const Tensor& image, const Tensor& truth) {
                              if (interrupt_requested()) throw Interrupted("stopped; nothing was evaluated");
                              perceptual.measure(index, image, truth);
                              const auto truth_picture = [&] { return view_picture(views[index].picture); };
                              if (job.all_figures)
                                temporal.add(views[index].camera, to_picture(image), truth_picture(),
                                             perceptual.embedding(), perceptual.truth_embedding());
                              if (!job.pictures.empty())
                                write_png(job.pictures / flat_name(views[index].name),
                                          side_by_side(to_picture(image), truth_picture()));
                              if (!job.report.empty() && report.shows(index))
                                report.add(index, to_picture(image), truth_picture());
                              progress.update(++done);
                            });
  result.perceptual = perceptual.figures();
  result.left_out = perceptual.left_out();
  result.temporal = temporal.figures();
  if (job.all_figures && result.temporal.empty())
    result.left_out.push_back(fmt::format(
        "figures over time are left out: no camera of '{}' has pictures of two times", job.split));
  result.model = model_place(job.model, job.choice.which, job.choice.iteration);
  result.dataset = dataset.folder();
  result.iterations = model.info.iterations;
  result.gaussians = model.gaussians.count();
  if (!job.results.empty()) write_reference_results(job.results, result);
  if (!job.report.empty()) report.write(job.report, result, job.split);
  return result;
}

std::string to_json(const EvaluateResult& result, const std::string& split) {
  nlohmann::json json = metrics_json(result.metrics.psnr, result.metrics.ssim, result.metrics.l1);
  for (const auto& figure : result.perceptual) json[figure.key] = figure.mean();
  json["split"] = split;
  json["model"] = result.model.generic_string();
  json["dataset"] = result.dataset.generic_string();
  json["iterations"] = result.iterations;
  json["gaussians"] = result.gaussians;
  for (const TemporalFigures::Figure& figure : result.temporal)
    json["temporal"][figure.key] = {
        {"render", figure.render}, {"truth", figure.truth}, {"pairs", figure.count}};
  json["per_view"] = nlohmann::json::array();
  for (size_t i = 0; i < result.metrics.views.size(); ++i) {
    const ViewMetrics& view = result.metrics.views[i];
    nlohmann::json entry = metrics_json(view.psnr, view.ssim, view.l1);
    for (const auto& figure : result.perceptual) entry[figure.key] = figure.values[i];
    entry["file"] = view.name;
    entry["time"] = view.time;
    json["per_view"].push_back(std::move(entry));
  }
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace eg4d
