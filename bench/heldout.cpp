#include "heldout.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace eg4d::bench {
namespace {

namespace fs = std::filesystem;

Picture part_of(const Picture& grid, int left, int top, int side) {
  Picture part(side, side, 3);
  for (int y = 0; y < side; ++y)
    std::copy_n(&grid.data[(static_cast<size_t>(top + y) * grid.width + left) * 3], side * 3,
                &part.data[static_cast<size_t>(y) * side * 3]);
  return part;
}

// A picture of square pictures side by side.
std::vector<HeldOut::Row> read_grid(const fs::path& file, int side) {
  const Picture grid = compose_on_background(read_picture(file), 255);
  if (grid.width % side != 0 || grid.height % side != 0)
    throw Error(fmt::format("{} is no grid of {}×{} pictures", file.string(), side, side));
  std::vector<HeldOut::Row> rows;
  for (int top = 0; top < grid.height; top += side) {
    HeldOut::Row& row = rows.emplace_back();
    for (int left = 0; left < grid.width; left += side) row.push_back(part_of(grid, left, top, side));
  }
  return rows;
}

}  // namespace

Picture grid_of(const std::vector<HeldOut::Row>& rows) {
  size_t columns = 0;
  for (const HeldOut::Row& row : rows) columns = std::max(columns, row.size());
  if (columns == 0) return {};
  const int width = rows.front().front().width, height = rows.front().front().height;
  Picture grid(width * static_cast<int>(columns), height * static_cast<int>(rows.size()), 3);
  std::fill(grid.data.begin(), grid.data.end(), uint8_t{255});
  for (size_t i = 0; i < rows.size(); ++i)
    for (size_t j = 0; j < rows[i].size(); ++j)
      for (int y = 0; y < height; ++y)
        std::copy_n(&rows[i][j].data[static_cast<size_t>(y) * width * 3], width * 3,
                    &grid.data[((i * height + y) * columns + j) * width * 3]);
  return grid;
}

HeldOut read_held_out(const fs::path& folder, size_t count) {
  std::ifstream stream(folder / "about.json");
  const nlohmann::json about = nlohmann::json::parse(stream, nullptr, false);
  if (!about.is_object())
    throw Error(
        fmt::format("'{}' holds no held-out creatures (about.json); training/make_heldout.py makes them",
                    folder.string()));
  HeldOut data;
  data.mean = read_picture(folder / "mean.webp");
  const auto each = [&](const char* kind, const auto& take) {
    const auto& list = about.at(kind);
    for (size_t i = 0; i < std::min(count, list.size()); ++i)
      take(list[i], read_grid(folder / kind / fmt::format("{:03}.webp", i), data.mean.width));
  };
  each("orbits", [&](const auto& entry, auto rows) {
    data.orbits.push_back({entry.at("elevation").template get<double>(), std::move(rows)});
  });
  each("clips", [&](const auto&, auto rows) { data.clips.push_back(std::move(rows.at(0))); });
  each("spoilt", [&](const auto&, auto rows) { data.spoilt.push_back(std::move(rows.at(0))); });
  return data;
}

}  // namespace eg4d::bench
