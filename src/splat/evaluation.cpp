#include "splat/evaluation.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace eg4d {
namespace {

constexpr int64_t kFigures = 4;  // of ImageLoss

}  // namespace

RenderOptions render_options(const ReconstructOptions& options) {
  RenderOptions render;
  render.use_opacity_change = options.deformation.opacity;
  render.use_color_change = options.deformation.color;
  render.use_scale_change = options.deformation.scale;
  render.use_rotation_change = options.deformation.rotation;
  render.sh_at_deformed = options.gaussian.sh_direction == ShDirection::deformed;
  render.flat = options.gaussian.flat;
  std::fill_n(render.background, 3, options.data.background == Background::white ? 1.0f : 0.0f);
  return render;
}

float color_time(const ReconstructOptions& options, float time) {
  return options.deformation.color_time == ColorTime::own ? time : options.deformation.reference_time;
}

double psnr_of(double mean_squared_error) {
  return mean_squared_error == 0 ? 100 : -10 * std::log10(mean_squared_error);
}

EvaluationMetrics evaluate(Backend& backend, const Gaussians& gaussians, const DeformationField* field,
                           const ReconstructOptions& options, const TrainingViews& views,
                           const EvaluatedPicture& seen) {
  Renderer renderer(backend, render_options(options));
  return evaluate(renderer, gaussians, field, options, views, seen);
}

EvaluationMetrics evaluate(Renderer& renderer, const Gaussians& gaussians, const DeformationField* field,
                           const ReconstructOptions& options, const TrainingViews& views,
                           const EvaluatedPicture& seen) {
  Backend& backend = gaussians.positions.backend();
  EvaluationMetrics result;
  result.views.resize(views.size());
  if (views.empty()) return result;
  // Views of one time share one evaluation of the field.
  std::vector<size_t> order(views.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return views[a].time < views[b].time; });

  std::vector<IterationInputs> inputs;
  for (const size_t k : order) {
    const TrainingView& view = views[k];
    inputs.push_back(renderer.inputs(view.camera, field, view.time, color_time(options, view.time)));
    inputs.back().picture = {view.picture.data<uint8_t>(), view.camera.width, view.camera.height};
  }
  const InputRows rows(backend, inputs);
  // Figures of all pictures stay on the device until the last one is measured, so that nothing waits for
  // them.
  const Tensor values = Tensor::zeros(backend, {static_cast<int64_t>(views.size()), kFigures}, DType::f64);
  ResizableTensor target_memory;
  for (size_t k = 0; k < order.size(); ++k) {
    const TrainingView& view = views[order[k]];
    if (k == 0 || view.time != views[order[k - 1]].time) {
      if (k > 0 && options.deformation.color_time == ColorTime::reference) renderer.keep_colors();
      renderer.deform(gaussians, field, rows[static_cast<int64_t>(k)],
                      color_time(options, view.time) != view.time, false);
    }
    const int width = view.camera.width, height = view.camera.height;
    const IterationInputs* row = rows[static_cast<int64_t>(k)];
    const Tensor& image = renderer.render(width, height, row).image;
    backend.run(ClampUnit{image.data(), image.count()});
    target_memory.resize(backend, image.shape());
    const Tensor& target = target_memory.tensor();
    ResizePicture convert;
    convert.picture = &row->picture;
    convert.out_width = width;
    convert.out_height = height;
    convert.out = target.data();
    backend.run(convert);
    ImageLoss loss;
    loss.width = width;
    loss.height = height;
    loss.image = image.data();
    loss.target = target.data();
    loss.want_ssim = true;
    loss.values = values.data<double>() + static_cast<int64_t>(k) * kFigures;
    backend.run(loss);
    if (seen) seen(order[k], image, target);
  }
  const std::vector<double> figures = values.to_host<double>();
  for (size_t k = 0; k < order.size(); ++k) {
    const double* const of_view = figures.data() + k * kFigures;
    ViewMetrics& metrics = result.views[order[k]];
    metrics.name = views[order[k]].name;
    metrics.time = views[order[k]].time;
    metrics.l1 = of_view[0];
    metrics.ssim = of_view[1];
    metrics.psnr = -10 * std::log10(std::max(of_view[2], 1e-10));
  }
  for (const ViewMetrics& metrics : result.views) {
    result.psnr += metrics.psnr / static_cast<double>(views.size());
    result.ssim += metrics.ssim / static_cast<double>(views.size());
    result.l1 += metrics.l1 / static_cast<double>(views.size());
  }
  return result;
}

}  // namespace eg4d
