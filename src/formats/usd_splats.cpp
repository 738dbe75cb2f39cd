#include "formats/usd_splats.h"

#include <fmt/format.h>

#include "formats/splat_numbers.h"
#include "io/ply_writer.h"
#include "io/usd_text.h"

namespace eg4d::splat {
namespace {

// An attribute of all Gaussians in one frame, `width` numbers for each element of its array.
struct Attribute {
  const char* declaration;
  size_t width;
  std::function<std::vector<float>(const GaussianCloud&)> values;
};

std::vector<float> extent_of(const GaussianCloud& cloud) {
  std::vector<float> corners(6);
  std::fill_n(corners.begin(), 3, INFINITY);
  std::fill_n(corners.begin() + 3, 3, -INFINITY);
  for (size_t i = 0; i < cloud.positions.size(); ++i) {
    // Three standard deviations in every direction hold it, however it is turned.
    const float* scales = &cloud.log_scales[i / 3 * 3];
    const float reach = 3 * std::exp(std::max({scales[0], scales[1], scales[2]}));
    corners[i % 3] = std::min(corners[i % 3], cloud.positions[i] - reach);
    corners[3 + i % 3] = std::max(corners[3 + i % 3], cloud.positions[i] + reach);
  }
  return corners;
}

std::vector<float> unit_quaternions(const GaussianCloud& cloud) {
  std::vector<float> values;
  for (size_t i = 0; i < cloud.quaternions.size(); i += 4) {
    const auto q = unit_quaternion(&cloud.quaternions[i]);
    values.insert(values.end(), q.begin(), q.end());
  }
  return values;
}

std::vector<float> scales_of(const GaussianCloud& cloud) {
  std::vector<float> values = cloud.log_scales;
  for (float& value : values) value = std::exp(value);
  return values;
}

std::vector<float> opacities_of(const GaussianCloud& cloud) {
  std::vector<float> values = cloud.opacity_logits;
  for (float& value : values) value = sigmoid(value);
  return values;
}

std::vector<float> harmonics_of(const GaussianCloud& cloud, size_t coefficients) {
  std::vector<float> values;
  for (size_t i = 0; i < static_cast<size_t>(cloud.count()); ++i) {
    values.insert(values.end(), &cloud.sh_dc[3 * i], &cloud.sh_dc[3 * i] + 3);
    const float* rest = &cloud.sh_rest[kRest * i];
    values.insert(values.end(), rest, rest + 3 * (coefficients - 1));
  }
  return values;
}

}  // namespace

void write_usd_splats(const std::filesystem::path& path, const SplatSequence& sequence, char up) {
  int degree = 0;
  for (int frame = 0; frame < sequence.frames; ++frame)
    degree = std::max(degree, sh_degree_of(sequence.at(frame)));
  const auto coefficients = static_cast<size_t>((degree + 1) * (degree + 1));
  const Attribute attributes[] = {
      {"float3[] extent", 3, extent_of},
      {"point3f[] positions", 3, [](const GaussianCloud& cloud) { return cloud.positions; }},
      {"quatf[] orientations", 4, unit_quaternions},
      {"float3[] scales", 3, scales_of},
      {"float[] opacities", 1, opacities_of},
      {"float3[] radiance:sphericalHarmonicsCoefficients", 3,
       [&](const GaussianCloud& cloud) { return harmonics_of(cloud, coefficients); }}};

  std::vector<double> codes;
  for (int frame = 0; frame < sequence.frames; ++frame) codes.push_back(frame);
  AtomicFile file(path);
  file.write(usd::header_text(0, sequence.frames - 1, sequence.fps, up));
  file.write(
      fmt::format("def ParticleField3DGaussianSplat \"Object\"\n{{\n"
                  "    uniform token sortingModeHint = \"zDepth\"\n"
                  "    uniform int radiance:sphericalHarmonicsDegree = {}\n",
                  degree));
  for (const Attribute& attribute : attributes)
    usd::write_attribute(
        file, fmt::format("    {}", attribute.declaration), attribute.width, codes,
        [&](size_t frame) { return attribute.values(sequence.at(static_cast<int>(frame))); });
  file.write("}\n");
  file.commit();
}

}  // namespace eg4d::splat
