#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "mesh/iso_surface.h"

namespace eg4d::mesh {

// The density of Gaussians, Σ opacity·exp(-½ (x-μ)ᵀΣ⁻¹(x-μ)), each up to 3 standard deviations, at the
// points of a lattice, block by block.
class DensityField {
 public:
  // Scales count as `min_scale` at least, so that no Gaussian falls between the points. Throws Error where so
  // many large Gaussians lie on so fine a lattice that their lists would take more than 4 GB.
  DensityField(const Ellipsoids& ellipsoids, const Lattice& lattice, float min_scale);

  // What iso_surface takes.
  void operator()(const BlockNumber& block, float* values) const;
  std::vector<BlockNumber> blocks() const;  // that a Gaussian reaches

 private:
  struct Term {
    Vec3f mean;
    float opacity;
    float inverse[6];          // xx, xy, xz, yy, yz, zz of Σ⁻¹
    std::array<int, 3> first;  // lattice points that it may reach
    std::array<int, 3> last;
  };
  size_t number(const BlockNumber& block) const;
  // Calls with each block that term reaches.
  template <class Visit>
  void visit_blocks(const Term& term, const Visit& visit) const;

  const Lattice lattice_;
  const std::array<int, 3> counts_;
  std::vector<Term> terms_;
  // Of block b: list_[begin_[b]] … list_[begin_[b + 1] - 1], ascending, so that sums have one order.
  std::vector<uint64_t> begin_;
  std::vector<uint32_t> list_;
};

}  // namespace eg4d::mesh
