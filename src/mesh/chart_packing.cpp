#include "mesh/chart_packing.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>

#include "core/error.h"

namespace eg4d::mesh {
namespace {

constexpr int kMostCells = 1024;  // of a side, in which places are looked for

Vec2f turned(Vec2f p, int quarters) {
  switch (quarters & 3) {
    case 1:
      return {-p.y, p.x};
    case 2:
      return {-p.x, -p.y};
    case 3:
      return {p.y, -p.x};
    default:
      return p;
  }
}

// What a chart covers of each column of cells, padding included; rows from its lowest.
struct Outline {
  Vec2f low;                     // of the turned and scaled chart, texels
  int height = 0;                // cells
  std::vector<int> bottom, top;  // [columns] the first cell, and the one behind the last
};

Outline outline_of(const FlatChart& chart, int quarters, float scale, int cell, int border) {
  std::vector<std::array<Vec2f, 3>> triangles = chart.triangles;
  Outline outline{{INFINITY, INFINITY}, 0, {}, {}};
  Vec2f high{-INFINITY, -INFINITY};
  for (auto& triangle : triangles)
    for (Vec2f& p : triangle) {
      p = turned(p, quarters);
      p = {p.x * scale, p.y * scale};
      outline.low = {std::min(outline.low.x, p.x), std::min(outline.low.y, p.y)};
      high = {std::max(high.x, p.x), std::max(high.y, p.y)};
    }
  const auto reach = static_cast<float>(border), unit = static_cast<float>(cell);
  const auto cells = [&](float texels) { return static_cast<int>(std::floor((texels + reach) / unit)); };
  const auto columns = static_cast<size_t>(cells(high.x - outline.low.x + reach)) + 1;
  outline.height = cells(high.y - outline.low.y + reach) + 1;
  outline.bottom.assign(columns, outline.height);
  outline.top.assign(columns, 0);
  // A side covers, in each column that it comes within `border` of, the rows between its ends there.
  for (const auto& triangle : triangles)
    for (size_t k = 0; k < 3; ++k) {
      Vec2f a = triangle[k], b = triangle[(k + 1) % 3];
      if (a.x > b.x) std::swap(a, b);
      a = {a.x - outline.low.x, a.y - outline.low.y};
      b = {b.x - outline.low.x, b.y - outline.low.y};
      const float slope = b.x > a.x ? (b.y - a.y) / (b.x - a.x) : 0;
      const auto last = static_cast<size_t>(cells(b.x + reach));
      for (auto column = static_cast<size_t>(cells(a.x - reach)); column <= last; ++column) {
        const float left = static_cast<float>(column) * unit - 2 * reach, right = left + unit + 2 * reach;
        const float from = a.y + slope * (std::clamp(left, a.x, b.x) - a.x);
        const float to = b.x > a.x ? a.y + slope * (std::clamp(right, a.x, b.x) - a.x) : b.y;
        outline.bottom[column] = std::min(outline.bottom[column], cells(std::min(from, to) - reach));
        outline.top[column] = std::max(outline.top[column], cells(std::max(from, to) + reach) + 1);
      }
    }
  return outline;
}

// The skyline of what was placed.
class Skyline {
 public:
  explicit Skyline(int cells) : cells_(cells), heights_(static_cast<size_t>(cells), 0) {}

  struct Place {
    int x = 0, y = 0, top = 0;
    int64_t waste = 0;  // cells that would lie empty below
  };
  // The lowest one that ends below `limit`.
  std::optional<Place> lowest(const Outline& outline, int limit) const {
    std::optional<Place> best;
    const auto columns = static_cast<int>(outline.bottom.size());
    limit = std::min(limit, cells_);
    for (int x = 0; x + columns <= cells_; ++x) {
      const int* heights = &heights_[static_cast<size_t>(x)];
      int y = 0;
      for (size_t k = 0; k < outline.bottom.size() && y + outline.height <= limit; ++k)
        y = std::max(y, heights[k] - outline.bottom[k]);
      if (y + outline.height > limit) continue;
      int64_t waste = 0;
      for (size_t k = 0; k < outline.bottom.size(); ++k) waste += y + outline.bottom[k] - heights[k];
      const Place place{x, y, y + outline.height, waste};
      if (!best || place.top < best->top || (place.top == best->top && waste < best->waste)) best = place;
      limit = std::min(limit, place.top);
    }
    return best;
  }
  void add(const Outline& outline, const Place& place) {
    for (size_t k = 0; k < outline.top.size(); ++k)
      heights_[static_cast<size_t>(place.x) + k] = place.y + outline.top[k];
  }

 private:
  const int cells_;
  std::vector<int> heights_;
};

std::optional<std::vector<Placement>> place_all(const std::vector<FlatChart>& charts,
                                                const std::vector<uint32_t>& order, float scale, int size,
                                                int border) {
  const int cell = (size + kMostCells - 1) / kMostCells;
  Skyline skyline(size / cell);
  std::vector<Placement> placements(charts.size());
  for (const uint32_t chart : order) {
    std::optional<Skyline::Place> best;
    Outline outline;
    int quarters = 0;
    for (int turn = 0; turn < 4; ++turn) {
      Outline candidate = outline_of(charts[chart], turn, scale, cell, border);
      const auto place = skyline.lowest(candidate, best ? best->top : size);
      if (!place || (best && place->top == best->top && place->waste >= best->waste)) continue;
      best = place;
      outline = std::move(candidate);
      quarters = turn;
    }
    if (!best) return {};
    skyline.add(outline, *best);
    placements[chart] = {quarters,
                         {static_cast<float>(best->x * cell + border) - outline.low.x,
                          static_cast<float>(best->y * cell + border) - outline.low.y}};
  }
  return placements;
}

}  // namespace

Vec2f Placement::place(Vec2f p, float scale) const {
  p = turned(p, quarters);
  return {p.x * scale + offset.x, p.y * scale + offset.y};
}

float upright_turn(const std::vector<Vec2f>& points) {
  constexpr int kTurns = 45;  // of a quarter
  float best = 0, least = INFINITY;
  for (int i = 0; i < kTurns; ++i) {
    const auto turn = static_cast<float>(i * std::numbers::pi / 2 / kTurns);
    const float c = std::cos(turn), s = std::sin(turn);
    Vec2f low{INFINITY, INFINITY}, high{-INFINITY, -INFINITY};
    for (const Vec2f p : points) {
      const Vec2f q{c * p.x - s * p.y, s * p.x + c * p.y};
      low = {std::min(low.x, q.x), std::min(low.y, q.y)};
      high = {std::max(high.x, q.x), std::max(high.y, q.y)};
    }
    const float area = (high.x - low.x) * (high.y - low.y);
    if (area < least) {
      least = area;
      best = turn;
    }
  }
  return best;
}

Packing pack_charts(const std::vector<FlatChart>& charts, int size, int padding) {
  double area = 0;
  std::vector<float> extents;
  for (const FlatChart& chart : charts) {
    float low_x = INFINITY, low_y = INFINITY, high_x = -INFINITY, high_y = -INFINITY;
    for (const auto& [a, b, c] : chart.triangles) {
      area += std::abs(double{b.x - a.x} * (c.y - a.y) - double{b.y - a.y} * (c.x - a.x)) / 2;
      low_x = std::min({low_x, a.x, b.x, c.x});
      low_y = std::min({low_y, a.y, b.y, c.y});
      high_x = std::max({high_x, a.x, b.x, c.x});
      high_y = std::max({high_y, a.y, b.y, c.y});
    }
    extents.push_back(std::max(high_x - low_x, high_y - low_y));
  }
  std::vector<uint32_t> order(charts.size());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return extents[a] > extents[b]; });

  // No larger than a chart that fills all, nor than all charts without a gap; lines and points have no size.
  const auto room = static_cast<float>(size - padding - 2);
  const float longest = charts.empty() ? 0 : extents[order[0]];
  float most = longest > 0 ? room / longest : 1;
  if (area > 0) most = std::min(most, size * static_cast<float>(std::sqrt(0.95 / area)));
  for (int border = (padding + 1) / 2;; border /= 2) {
    for (float scale = most; scale > most * (border > 0 ? 0.3f : 0.02f); scale *= 0.97f)
      if (auto placements = place_all(charts, order, scale, size, border))
        return {scale, std::move(*placements)};
    if (border == 0) break;
  }
  throw Error(fmt::format(
      "the surface falls into {} pieces of a texture, for which {}×{} texels have no room; ask for a "
      "larger texture, or for fewer triangles",
      charts.size(), size, size));
}

}  // namespace eg4d::mesh
