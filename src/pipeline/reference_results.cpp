#include "pipeline/reference_results.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "io/atomic_file.h"

namespace eg4d {

using nlohmann::ordered_json;

void write_reference_results(const std::filesystem::path& folder, const EvaluateResult& result) {
  const std::string method = fmt::format("ours_{}", result.iterations);
  ordered_json means, views;
  const auto take = [&](const char* name, double mean, const auto& of_view) {
    means[method][name] = mean;
    for (size_t i = 0; i < result.metrics.views.size(); ++i)
      views[method][name][fmt::format("{:05}.png", i)] = of_view(i);
  };
  take("SSIM", result.metrics.ssim, [&](size_t i) { return result.metrics.views[i].ssim; });
  take("PSNR", result.metrics.psnr, [&](size_t i) { return result.metrics.views[i].psnr; });
  constexpr std::pair<const char*, const char*> kNames[] = {
      {"LPIPS-vgg", "lpips_vgg"}, {"LPIPS-alex", "lpips_alex"}, {"MS-SSIM", "ms_ssim"}, {"D-SSIM", "d_ssim"}};
  for (const auto& [name, key] : kNames)
    for (const PerceptualFigures::Figure& figure : result.perceptual)
      if (figure.key == key) take(name, figure.mean(), [&](size_t i) { return figure.values[i]; });
  write_file_atomically(folder / "results.json", means.dump(1) + "\n");
  write_file_atomically(folder / "per_view.json", views.dump(1) + "\n");
}

}  // namespace eg4d
