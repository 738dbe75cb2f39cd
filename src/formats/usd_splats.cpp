#include "formats/usd_splats.h"

#include <fmt/format.h>

#include <span>

#include "core/error.h"
#include "core/version.h"
#include "formats/splat_numbers.h"
#include "io/atomic_file.h"
#include "io/ply_writer.h"

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

// "[(1, 2, 3), (4, 5, 6)]"; numbers without parentheses where they are single.
std::string array_text(std::span<const float> values, size_t width) {
  fmt::memory_buffer text;
  for (size_t i = 0; i < values.size(); ++i) {
    const bool first = i % width == 0, last = i % width == width - 1;
    fmt::format_to(std::back_inserter(text), "{}{}{}{}", i == 0 ? "[" : ", ", first && width > 1 ? "(" : "",
                   values[i], last && width > 1 ? ")" : "");
  }
  text.push_back(']');
  return {text.data(), text.size()};
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

  AtomicFile file(path);
  file.write(
      fmt::format("#usda 1.0\n(\n    defaultPrim = \"Object\"\n    doc = \"written by eg4d {}\"\n"
                  "    startTimeCode = 0\n    endTimeCode = {}\n    timeCodesPerSecond = {}\n"
                  "    framesPerSecond = {}\n    metersPerUnit = 1\n    upAxis = \"{}\"\n)\n\n"
                  "def ParticleField3DGaussianSplat \"Object\"\n{{\n"
                  "    uniform token sortingModeHint = \"zDepth\"\n"
                  "    uniform int radiance:sphericalHarmonicsDegree = {}\n",
                  kVersion, sequence.frames - 1, sequence.fps, sequence.fps, up, degree));
  for (const Attribute& attribute : attributes) {
    const std::vector<float> first = attribute.values(sequence.at(0));
    bool moves = false;
    for (int frame = 1; frame < sequence.frames; ++frame) {
      const std::vector<float> values = attribute.values(sequence.at(frame));
      if (!moves && values == first) continue;
      if (!moves) {
        // All frames before this one are as the first: two samples hold it between them.
        file.write(fmt::format("    {}.timeSamples = {{\n        0: {},\n", attribute.declaration,
                               array_text(first, attribute.width)));
        if (frame > 1)
          file.write(fmt::format("        {}: {},\n", frame - 1, array_text(first, attribute.width)));
        moves = true;
      }
      file.write(fmt::format("        {}: {},\n", frame, array_text(values, attribute.width)));
    }
    if (moves)
      file.write("    }\n");
    else
      file.write(fmt::format("    {} = {}\n", attribute.declaration, array_text(first, attribute.width)));
  }
  file.write("}\n");
  file.commit();
}

}  // namespace eg4d::splat
