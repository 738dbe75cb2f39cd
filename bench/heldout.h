#pragma once

#include <filesystem>
#include <vector>

#include "io/image.h"

namespace eg4d::bench {

// Creatures that the mini models' training never saw, as training/make_heldout.py writes them.
struct HeldOut {
  using Row = std::vector<Picture>;
  struct Orbit {
    double elevation = 0;      // degrees
    std::vector<Row> moments;  // [moments][views], the last view is the input's camera
  };
  std::vector<Orbit> orbits;
  std::vector<Row> clips;   // frames, the first is the input
  std::vector<Row> spoilt;  // the clean picture, the spoilt one
  Picture mean;             // of creatures that training may have seen
};

// At most `count` of each kind. Throws Error when files are missing or do not fit together.
HeldOut read_held_out(const std::filesystem::path& folder, size_t count);

// Pictures of one size as one picture: rows below each other, white where a row is shorter.
Picture grid_of(const std::vector<HeldOut::Row>& rows);

}  // namespace eg4d::bench
