#pragma once

#include <filesystem>
#include <string>

#include "core/progress.h"
#include "pipeline/open_model.h"
#include "pipeline/perceptual.h"
#include "pipeline/temporal_figures.h"
#include "splat/evaluation.h"

namespace eg4d {

class Backend;

struct EvaluateJob {
  std::filesystem::path model;          // what open_model takes
  std::filesystem::path dataset;        // empty: the one the model was trained on
  std::string split = "test";           // transforms_<split>.json
  std::filesystem::path pictures;       // when not empty: folder for picture | truth, side by side
  std::filesystem::path report;         // when not empty: a page that shows the pictures and figures
  std::filesystem::path results;        // when not empty: folder for results.json (reference_results.h)
  bool all_figures = false;             // MS-SSIM, D-SSIM and how pictures change with time, too
  std::filesystem::path reference;      // when not empty: a picture, for CLIP-S
  std::filesystem::path models_folder;  // where the weights of LPIPS and CLIP are looked for first
  ModelChoice choice = {};
};

struct EvaluateResult {
  EvaluationMetrics metrics;
  std::vector<PerceptualFigures::Figure> perceptual;  // those whose weights are here
  std::vector<TemporalFigures::Figure> temporal;      // with all_figures
  std::vector<std::string> left_out;                  // why others are not; one sentence each
  std::filesystem::path model;                        // the file or folder that was measured
  std::filesystem::path dataset;
  int64_t iterations = 0, gaussians = 0;
};

// Compares the model's pictures with those of a split. Throws Error when the dataset or the split is not
// there.
EvaluateResult evaluate_model(Backend& backend, const EvaluateJob& job, Progress& progress);

// {"psnr":…, "ssim":…, "l1":…, "lpips_alex":…, "lpips_vgg":…, "clip_i":…, "model":…, "iterations":…,
// "gaussians":…, "split":…, "per_view":[{"file","time","psnr",…},…]}; figures without weights are left out.
// With figures over time: "temporal": {"flicker": {"render", "truth", "pairs"}, …}.
std::string to_json(const EvaluateResult& result, const std::string& split);

}  // namespace eg4d
