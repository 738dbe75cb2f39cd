#include "mesh/density_field.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/threads.h"

namespace eg4d::mesh {
namespace {

constexpr uint64_t kMostPairs = uint64_t{1} << 30;  // of a Gaussian and a block
constexpr float kCut = 9;                           // 3 standard deviations, squared

}  // namespace

DensityField::DensityField(const Ellipsoids& ellipsoids, const Lattice& lattice, float min_scale)
    : lattice_(lattice), counts_(block_counts(lattice)), terms_(ellipsoids.count()) {
  parallel_for(static_cast<int64_t>(terms_.size()), 1024, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      Term& term = terms_[i];
      term.mean = ellipsoids.means[i];
      term.opacity = ellipsoids.opacities[i];
      const Rotation axes = rotation_matrix(ellipsoids.rotations[i]);
      std::fill(std::begin(term.inverse), std::end(term.inverse), 0.f);
      Vec3f variance;
      for (size_t k = 0; k < 3; ++k) {
        const float scale = std::max(ellipsoids.scales[i].data()[k], min_scale);
        const Vec3f a = axes[k], wide = a * scale;
        variance += {wide.x * wide.x, wide.y * wide.y, wide.z * wide.z};
        const float w = 1 / (scale * scale);
        const float products[6] = {a.x * a.x, a.x * a.y, a.x * a.z, a.y * a.y, a.y * a.z, a.z * a.z};
        for (size_t p = 0; p < 6; ++p) term.inverse[p] += w * products[p];
      }
      for (size_t axis = 0; axis < 3; ++axis) {
        const float reach = 3 * std::sqrt(variance.data()[axis]);
        const float middle = term.mean.data()[axis] - lattice.origin.data()[axis];
        const auto most = static_cast<float>(lattice.points[axis] - 1);
        term.first[axis] =
            static_cast<int>(std::clamp(std::ceil((middle - reach) / lattice.spacing), 0.f, most + 1));
        term.last[axis] =
            static_cast<int>(std::clamp(std::floor((middle + reach) / lattice.spacing), -1.f, most));
      }
    }
  });
  begin_.assign(
      static_cast<size_t>(counts_[0]) * static_cast<size_t>(counts_[1]) * static_cast<size_t>(counts_[2]) + 1,
      0);
  uint64_t pairs = 0;
  for (const Term& term : terms_) {
    visit_blocks(term, [&](size_t block) {
      ++begin_[block + 1];
      ++pairs;
    });
    if (pairs > kMostPairs)
      throw Error(fmt::format(
          "the lattice of {}×{}×{} points is too fine for this object, whose Gaussians are large and many; "
          "give a smaller --resolution",
          lattice.points[0], lattice.points[1], lattice.points[2]));
  }
  for (size_t b = 1; b < begin_.size(); ++b) begin_[b] += begin_[b - 1];
  list_.resize(pairs);
  std::vector<uint64_t> next(begin_.begin(), begin_.end() - 1);
  for (size_t i = 0; i < terms_.size(); ++i)
    visit_blocks(terms_[i], [&](size_t block) { list_[next[block]++] = static_cast<uint32_t>(i); });
}

size_t DensityField::number(const BlockNumber& block) const {
  return (static_cast<size_t>(block[2]) * static_cast<size_t>(counts_[1]) + static_cast<size_t>(block[1])) *
             static_cast<size_t>(counts_[0]) +
         static_cast<size_t>(block[0]);
}

template <class Visit>
void DensityField::visit_blocks(const Term& term, const Visit& visit) const {
  // The point kBlock·b belongs to block b - 1, too.
  std::array<int, 3> from{}, to{};
  for (size_t axis = 0; axis < 3; ++axis) {
    if (term.first[axis] > term.last[axis]) return;
    from[axis] = std::max(term.first[axis] - 1, 0) / kBlock;
    to[axis] = std::min(term.last[axis] / kBlock, counts_[axis] - 1);
  }
  for (int z = from[2]; z <= to[2]; ++z)
    for (int y = from[1]; y <= to[1]; ++y)
      for (int x = from[0]; x <= to[0]; ++x) visit(number({x, y, z}));
}

std::vector<BlockNumber> DensityField::blocks() const {
  std::vector<BlockNumber> reached;
  for (int z = 0; z < counts_[2]; ++z)
    for (int y = 0; y < counts_[1]; ++y)
      for (int x = 0; x < counts_[0]; ++x) {
        const size_t b = number({x, y, z});
        if (begin_[b + 1] > begin_[b]) reached.push_back({x, y, z});
      }
  return reached;
}

void DensityField::operator()(const BlockNumber& block, float* values) const {
  std::fill(values, values + kBlockValues, 0.f);
  const size_t b = number(block);
  const std::array<int, 3> base = {block[0] * kBlock, block[1] * kBlock, block[2] * kBlock};
  for (uint64_t at = begin_[b]; at < begin_[b + 1]; ++at) {
    const Term& term = terms_[list_[at]];
    std::array<int, 3> from{}, to{};
    for (size_t axis = 0; axis < 3; ++axis) {
      from[axis] = std::max(term.first[axis] - base[axis], 0);
      to[axis] = std::min(term.last[axis] - base[axis], kBlock);
    }
    const float* s = term.inverse;
    for (int z = from[2]; z <= to[2]; ++z)
      for (int y = from[1]; y <= to[1]; ++y) {
        float* row = values + (z * kBlockPoints + y) * kBlockPoints;
        for (int x = from[0]; x <= to[0]; ++x) {
          const Vec3f d = lattice_.at(base[0] + x, base[1] + y, base[2] + z) - term.mean;
          const float squared = d.x * (s[0] * d.x + 2 * (s[1] * d.y + s[2] * d.z)) +
                                d.y * (s[3] * d.y + 2 * s[4] * d.z) + s[5] * d.z * d.z;
          if (squared <= kCut) row[x] += term.opacity * std::exp(-0.5f * squared);
        }
      }
  }
}

}  // namespace eg4d::mesh
