#pragma once

#include <functional>
#include <string>
#include <vector>

#include "splat/options.h"
#include "splat/renderer.h"
#include "splat/training_data.h"

namespace eg4d {

// One rendered picture beside its truth.
struct ViewMetrics {
  std::string name;
  float time = 0;
  double psnr = 0, ssim = 0, l1 = 0;
};

struct EvaluationMetrics {
  double psnr = 0, ssim = 0, l1 = 0;  // means over the pictures
  std::vector<ViewMetrics> views;
};

// Called with a picture's index, the rendered image and the truth, both [H,W,3] in [0,1] and valid during the
// call.
using EvaluatedPicture = std::function<void(size_t, const Tensor&, const Tensor&)>;

// Renders every view as a user would (colours clamped to [0,1]; colour head at the reference time or the
// frame's own, as the options say) and compares. A null field renders the canonical Gaussians. `seen` is
// called after each picture, in order of time.
EvaluationMetrics evaluate(Backend& backend, const Gaussians& gaussians, const DeformationField* field,
                           const ReconstructOptions& options, const TrainingViews& views,
                           const EvaluatedPicture& seen = {});
// The same with a renderer of render_options(options), whose memory stays for the next evaluation.
EvaluationMetrics evaluate(Renderer& renderer, const Gaussians& gaussians, const DeformationField* field,
                           const ReconstructOptions& options, const TrainingViews& views,
                           const EvaluatedPicture& seen = {});

// In dB, of a mean squared error of values in [0,1]; 100 where there is none.
double psnr_of(double mean_squared_error);

// What the options say about rendering for use.
RenderOptions render_options(const ReconstructOptions& options);
float color_time(const ReconstructOptions& options, float time);

}  // namespace eg4d
