#include "formats/splatv.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/half.h"
#include "formats/splat_numbers.h"
#include "formats/splat_order.h"
#include "io/atomic_file.h"

namespace eg4d::splat {
namespace {

constexpr uint32_t kMagic = 0x674b;
constexpr size_t kBytes = 64;            // of a Gaussian
constexpr size_t kPerTextureRow = 1024;  // Gaussians, of four pixels each
constexpr float kCentre = 0.5f;          // of time: its powers are smallest there
constexpr float kAlways = 60000;         // width of time: exp(-(0.5/60000)²) is 1
constexpr size_t kPowers = 4;

// Least squares with powers 0 … terms-1 of dt at the frames: [terms][frames], coefficient = row · values.
// (AᵀA)⁻¹Aᵀ by elimination, in double; fewer frames than terms leave the higher powers zero.
std::vector<std::vector<double>> fit_rows(const std::vector<double>& times, size_t terms) {
  const size_t frames = times.size(), n = std::min(terms, frames);
  std::vector<std::vector<double>> rows(terms, std::vector<double>(frames, 0.0));
  std::vector<std::vector<double>> matrix(n, std::vector<double>(n + frames, 0.0));
  for (size_t i = 0; i < n; ++i) {
    for (size_t frame = 0; frame < frames; ++frame) {
      matrix[i][n + frame] = std::pow(times[frame], static_cast<double>(i));
      for (size_t k = 0; k < n; ++k) matrix[i][k] += std::pow(times[frame], static_cast<double>(i + k));
    }
  }
  for (size_t pivot = 0; pivot < n; ++pivot) {
    size_t largest = pivot;
    for (size_t i = pivot; i < n; ++i)
      if (std::abs(matrix[i][pivot]) > std::abs(matrix[largest][pivot])) largest = i;
    std::swap(matrix[pivot], matrix[largest]);
    for (size_t i = 0; i < n; ++i) {
      if (i == pivot) continue;
      const double factor = matrix[i][pivot] / matrix[pivot][pivot];
      for (size_t k = pivot; k < n + frames; ++k) matrix[i][k] -= factor * matrix[pivot][k];
    }
  }
  for (size_t i = 0; i < n; ++i)
    for (size_t frame = 0; frame < frames; ++frame) rows[i][frame] = matrix[i][n + frame] / matrix[i][i];
  return rows;
}

// What is gathered of all Gaussians over the frames: sums of values times the fit's weights.
struct Fit {
  explicit Fit(size_t count)
      : position(count * 3 * kPowers), quaternion(count * 4 * 2), scale(count * 3), colour(count * 4) {}
  std::vector<double> position;    // [N,3,4]
  std::vector<double> quaternion;  // [N,4,2]
  std::vector<double> scale;       // [N,3] means
  std::vector<double> colour;      // [N,4] means, red green blue opacity in [0,255]
};

void put_half(std::string& to, double value) {
  put(to, float_to_half(static_cast<float>(value)));
}

void append_gaussian(std::string& to, const Fit& fit, size_t i) {
  const double* position = &fit.position[i * 3 * kPowers];
  const double* quaternion = &fit.quaternion[i * 4 * 2];
  for (size_t axis = 0; axis < 3; ++axis) put(to, static_cast<float>(position[axis * kPowers]));
  for (size_t k = 0; k < 4; ++k) put_half(to, quaternion[k * 2]);
  for (size_t k = 0; k < 3; ++k) put_half(to, fit.scale[3 * i + k]);
  put_half(to, 0);
  for (size_t k = 0; k < 4; ++k) put(to, to_byte(static_cast<float>(fit.colour[4 * i + k])));
  for (size_t power = 1; power < kPowers; ++power)
    for (size_t axis = 0; axis < 3; ++axis) put_half(to, position[axis * kPowers + power]);
  put_half(to, 0);
  for (size_t k = 0; k < 4; ++k) put_half(to, quaternion[k * 2 + 1]);
  put_half(to, kCentre);
  put_half(to, kAlways);
}

}  // namespace

double write_splatv(const std::filesystem::path& path, const SplatSequence& sequence) {
  const GaussianCloud first = sequence.at(0);
  const auto count = static_cast<size_t>(first.count()), frames = static_cast<size_t>(sequence.frames);
  std::vector<double> times;
  for (size_t frame = 0; frame < frames; ++frame)
    times.push_back((frames > 1 ? static_cast<double>(frame) / static_cast<double>(frames - 1) : 0) -
                    kCentre);
  const auto cubic = fit_rows(times, frames > 1 ? kPowers : 1), line = fit_rows(times, frames > 1 ? 2 : 1);

  Fit fit(count);
  std::vector<float> last(count * 4);
  for (size_t i = 0; i < count; ++i) {
    const auto q = unit_quaternion(&first.quaternions[4 * i]);
    std::copy(q.begin(), q.end(), &last[4 * i]);
  }
  for (size_t frame = 0; frame < frames; ++frame) {
    const GaussianCloud cloud = sequence.at(static_cast<int>(frame));
    if (cloud.opacity_logits.size() != count) throw Error("a sequence has the same Gaussians in every frame");
    for (size_t i = 0; i < count; ++i) {
      for (size_t k = 0; k < 3; ++k) {
        for (size_t power = 0; power < cubic.size(); ++power)
          fit.position[(3 * i + k) * kPowers + power] += cubic[power][frame] * cloud.positions[3 * i + k];
        fit.scale[3 * i + k] += std::exp(cloud.log_scales[3 * i + k]) / static_cast<double>(frames);
        fit.colour[4 * i + k] += 255 * (0.5 + kSh0 * cloud.sh_dc[3 * i + k]) / static_cast<double>(frames);
      }
      fit.colour[4 * i + 3] += 255.0 * sigmoid(cloud.opacity_logits[i]) / static_cast<double>(frames);
      auto q = unit_quaternion(&cloud.quaternions[4 * i]);
      float product = 0;
      for (size_t k = 0; k < 4; ++k) product += q[k] * last[4 * i + k];
      for (size_t k = 0; k < 4; ++k) {
        last[4 * i + k] = product < 0 ? -q[k] : q[k];  // of q and -q the one that is nearer to the last
        for (size_t power = 0; power < line.size(); ++power)
          fit.quaternion[(4 * i + k) * 2 + power] += line[power][frame] * last[4 * i + k];
      }
    }
  }

  double squares = 0;
  for (size_t frame = 0; frame < frames; ++frame) {
    const GaussianCloud cloud = sequence.at(static_cast<int>(frame));
    for (size_t i = 0; i < count * 3; ++i) {
      double value = 0;
      for (size_t power = kPowers; power-- > 0;)
        value = value * times[frame] + fit.position[i * kPowers + power];
      squares += (value - cloud.positions[i]) * (value - cloud.positions[i]);
    }
  }

  const size_t rows = std::max<size_t>((count + kPerTextureRow - 1) / kPerTextureRow, 1);
  std::string texture;
  texture.reserve(rows * kPerTextureRow * kBytes);
  for (const uint32_t i : morton_order(first)) append_gaussian(texture, fit, i);
  texture.resize(rows * kPerTextureRow * kBytes, '\0');  // of no size and opacity: nothing is seen of them
  // splaTV takes its view from a camera of the file: here in front of the object, which lies about the
  // origin.
  const nlohmann::ordered_json camera = {{"id", 0},
                                         {"img_name", "eg4d"},
                                         {"width", 1024},
                                         {"height", 1024},
                                         {"position", {0, 0, -4}},
                                         {"rotation", {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}},
                                         {"fx", 1422},
                                         {"fy", 1422}};
  const nlohmann::ordered_json chunks =
      nlohmann::ordered_json::array({{{"type", "splat"},
                                      {"size", texture.size()},
                                      {"texwidth", 4 * kPerTextureRow},
                                      {"texheight", rows},
                                      {"cameras", nlohmann::ordered_json::array({camera})}}});
  const std::string text = chunks.dump();
  std::string header;
  put(header, kMagic);
  put(header, static_cast<uint32_t>(text.size()));
  AtomicFile file(path);
  file.write(header + text);
  file.write(texture);
  file.commit();
  return std::sqrt(squares / std::max(1.0, static_cast<double>(frames * count * 3)));
}

}  // namespace eg4d::splat
