#include "mesh/mesh_charts.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <queue>
#include <tuple>
#include <utility>

namespace eg4d::mesh {
namespace {

constexpr uint32_t kNone = UINT32_MAX;
constexpr int kSeedRounds = 3;

struct Vec3d {
  double x = 0, y = 0, z = 0;
  Vec3d() = default;
  Vec3d(double x, double y, double z) : x(x), y(y), z(z) {}
  explicit Vec3d(Vec3f v) : x(v.x), y(v.y), z(v.z) {}
  Vec3d& operator+=(Vec3d b) { return *this = {x + b.x, y + b.y, z + b.z}; }
};
double dot(Vec3d a, Vec3d b) {
  return a.x * b.x + a.y * b.y + a.z * b.z;
}
Vec3d scaled(Vec3d a, double s) {
  return {a.x * s, a.y * s, a.z * s};
}

// Triangles that share an edge with no third one: [triangles·3], kNone at borders.
std::vector<uint32_t> neighbors_of(const std::vector<std::array<uint32_t, 3>>& triangles) {
  struct Edge {
    uint64_t ends;
    uint32_t side;  // 3·triangle + which
    bool operator<(const Edge& b) const { return std::tie(ends, side) < std::tie(b.ends, b.side); }
  };
  std::vector<Edge> edges;
  edges.reserve(triangles.size() * 3);
  for (size_t t = 0; t < triangles.size(); ++t)
    for (size_t k = 0; k < 3; ++k) {
      const uint64_t a = triangles[t][k], b = triangles[t][(k + 1) % 3];
      edges.push_back({std::min(a, b) << 32 | std::max(a, b), static_cast<uint32_t>(3 * t + k)});
    }
  std::sort(edges.begin(), edges.end());
  std::vector<uint32_t> neighbors(edges.size(), kNone);
  for (size_t begin = 0, end; begin < edges.size(); begin = end) {
    for (end = begin; end < edges.size() && edges[end].ends == edges[begin].ends;) ++end;
    if (end - begin != 2) continue;
    neighbors[edges[begin].side] = edges[begin + 1].side / 3;
    neighbors[edges[begin + 1].side] = edges[begin].side / 3;
  }
  return neighbors;
}

class Charting {
 public:
  Charting(const std::vector<Vec3f>& positions, const std::vector<std::array<uint32_t, 3>>& triangles)
      : triangles_(triangles), neighbors_(neighbors_of(triangles)) {
    for (const auto& [a, b, c] : triangles) {
      const Vec3d p(positions[a]), q(positions[b]), r(positions[c]);
      const Vec3d u(q.x - p.x, q.y - p.y, q.z - p.z), v(r.x - p.x, r.y - p.y, r.z - p.z);
      Vec3d n(u.y * v.z - u.z * v.y, u.z * v.x - u.x * v.z, u.x * v.y - u.y * v.x);
      const double doubled = std::sqrt(dot(n, n));
      // A triangle without an area has no direction; it goes with any chart.
      n = doubled > 0 ? scaled(n, 1 / doubled) : Vec3d();
      normals_.push_back(n);
      areas_.push_back(doubled / 2);
    }
  }

  std::vector<Chart> cut() {
    chart_of_.assign(triangles_.size(), kNone);
    grow_the_rest();
    join_small();
    for (int round = 0; round < kSeedRounds; ++round) {
      grow_from(middles());
      grow_the_rest();
      join_small();
    }
    std::vector<Chart> charts(axes_.size());
    for (uint32_t t = 0; t < chart_of_.size(); ++t) charts[chart_of_[t]].triangles.push_back(t);
    for (size_t i = 0; i < charts.size(); ++i)
      charts[i].axis = {static_cast<float>(axes_[i].x), static_cast<float>(axes_[i].y),
                        static_cast<float>(axes_[i].z)};
    std::erase_if(charts, [](const Chart& chart) { return chart.triangles.empty(); });
    return charts;
  }

  // The connected parts of a set of triangles.
  std::vector<std::vector<uint32_t>> connected(const std::vector<uint32_t>& set) {
    constexpr uint32_t kWaiting = 1, kDone = 2;
    std::map<uint32_t, uint32_t> state;
    for (const uint32_t t : set) state[t] = kWaiting;
    std::vector<std::vector<uint32_t>> parts;
    for (const uint32_t first : set) {
      if (state[first] == kDone) continue;
      std::vector<uint32_t>& part = parts.emplace_back(1, first);
      state[first] = kDone;
      for (size_t i = 0; i < part.size(); ++i)
        for (size_t k = 0; k < 3; ++k) {
          const auto next = state.find(neighbors_[3 * part[i] + k]);
          if (next == state.end() || next->second == kDone) continue;
          next->second = kDone;
          part.push_back(next->first);
        }
      std::sort(part.begin(), part.end());
    }
    return parts;
  }

 private:
  struct Step {
    double cost;
    uint32_t triangle, chart;
    bool operator<(const Step& b) const {  // the queue gives the greatest first
      return std::tie(b.cost, b.triangle, b.chart) < std::tie(cost, triangle, chart);
    }
  };
  using Steps = std::priority_queue<Step>;

  bool fits(uint32_t triangle, Vec3d axis) const {
    return areas_[triangle] == 0 || dot(normals_[triangle], axis) >= kLeastChartCosine + 1e-3;
  }
  double cost(uint32_t triangle, Vec3d axis) const { return 1 - dot(normals_[triangle], axis); }

  void push_neighbors(Steps& steps, uint32_t triangle, uint32_t chart) const {
    for (size_t k = 0; k < 3; ++k) {
      const uint32_t next = neighbors_[3 * size_t{triangle} + k];
      if (next != kNone && chart_of_[next] == kNone && fits(next, axes_[chart]))
        steps.push({cost(next, axes_[chart]), next, chart});
    }
  }

  // Charts from these triangles, with the axes that there are, all at once: the best-fitting triangle goes
  // first.
  void grow_from(const std::vector<uint32_t>& seeds) {
    std::fill(chart_of_.begin(), chart_of_.end(), kNone);
    Steps steps;
    for (uint32_t chart = 0; chart < seeds.size(); ++chart) chart_of_[seeds[chart]] = chart;
    for (uint32_t chart = 0; chart < seeds.size(); ++chart) push_neighbors(steps, seeds[chart], chart);
    while (!steps.empty()) {
      const Step step = steps.top();
      steps.pop();
      if (chart_of_[step.triangle] != kNone) continue;
      chart_of_[step.triangle] = step.chart;
      push_neighbors(steps, step.triangle, step.chart);
    }
  }

  // New charts of the triangles that have none. The largest triangle begins, and the axis follows what has
  // come.
  void grow_the_rest() {
    std::vector<uint32_t> order;
    for (uint32_t t = 0; t < chart_of_.size(); ++t)
      if (chart_of_[t] == kNone) order.push_back(t);
    std::stable_sort(order.begin(), order.end(),
                     [this](uint32_t a, uint32_t b) { return areas_[a] > areas_[b]; });
    for (const uint32_t first : order) {
      if (chart_of_[first] != kNone) continue;
      const auto chart = static_cast<uint32_t>(axes_.size());
      axes_.push_back(areas_[first] > 0 ? normals_[first] : Vec3d(0, 0, 1));
      chart_of_[first] = chart;
      std::vector<uint32_t> members{first};
      Vec3d sum = scaled(normals_[first], areas_[first]);
      // A step's cost is that of the axis when it was found; what then no longer fits is left to others.
      Steps steps;
      push_neighbors(steps, first, chart);
      while (!steps.empty()) {
        const Step step = steps.top();
        steps.pop();
        if (chart_of_[step.triangle] != kNone || !fits(step.triangle, axes_[chart])) continue;
        chart_of_[step.triangle] = chart;
        members.push_back(step.triangle);
        sum += scaled(normals_[step.triangle], areas_[step.triangle]);
        const double length = std::sqrt(dot(sum, sum));
        if (length > 0) axes_[chart] = scaled(sum, 1 / length);
        push_neighbors(steps, step.triangle, chart);
      }
      // The axis moved on: those that it left behind go back.
      for (const uint32_t t : members)
        if (!fits(t, axes_[chart])) chart_of_[t] = kNone;
      if (chart_of_[first] == kNone) {  // alone then, so that every triangle has a chart
        chart_of_[first] = static_cast<uint32_t>(axes_.size());
        axes_.push_back(normals_[first]);
      }
    }
    // What went back after its turn had passed.
    for (const uint32_t t : order)
      if (chart_of_[t] == kNone) {
        chart_of_[t] = static_cast<uint32_t>(axes_.size());
        axes_.push_back(areas_[t] > 0 ? normals_[t] : Vec3d(0, 0, 1));
      }
  }

  // The mean axis of each chart, and the triangle that lies best along it. Empty charts go.
  std::vector<uint32_t> middles() {
    std::vector<Vec3d> sums(axes_.size());
    for (size_t t = 0; t < chart_of_.size(); ++t) sums[chart_of_[t]] += scaled(normals_[t], areas_[t]);
    for (size_t i = 0; i < axes_.size(); ++i) {
      const double length = std::sqrt(dot(sums[i], sums[i]));
      if (length > 0) axes_[i] = scaled(sums[i], 1 / length);
    }
    std::vector<uint32_t> best(axes_.size(), kNone);
    for (uint32_t t = 0; t < chart_of_.size(); ++t) {
      const uint32_t chart = chart_of_[t];
      if (best[chart] == kNone || cost(t, axes_[chart]) < cost(best[chart], axes_[chart])) best[chart] = t;
    }
    std::vector<Vec3d> axes;
    std::vector<uint32_t> seeds;
    for (size_t i = 0; i < best.size(); ++i)
      if (best[i] != kNone) {
        // Of a chart that is almost closed, the mean is along none of its triangles.
        axes.push_back(fits(best[i], axes_[i]) ? axes_[i] : normals_[best[i]]);
        seeds.push_back(best[i]);
      }
    axes_ = std::move(axes);
    return seeds;
  }

  bool all_fit(const std::vector<uint32_t>& triangles, Vec3d axis) const {
    return std::all_of(triangles.begin(), triangles.end(), [&](uint32_t t) { return fits(t, axis); });
  }

  // Each chart, smallest first, goes to the neighbour it shares most sides with that can take it.
  void join_small() {
    std::vector<std::vector<uint32_t>> members(axes_.size());
    std::vector<double> areas(axes_.size(), 0);
    std::vector<Vec3d> sums(axes_.size());
    for (uint32_t t = 0; t < chart_of_.size(); ++t) {
      const uint32_t chart = chart_of_[t];
      members[chart].push_back(t);
      areas[chart] += areas_[t];
      sums[chart] += scaled(normals_[t], areas_[t]);
    }
    std::vector<uint32_t> order(axes_.size());
    for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return areas[a] < areas[b]; });
    for (const uint32_t chart : order) {
      if (members[chart].empty()) continue;
      std::map<uint32_t, int> shared;
      for (const uint32_t t : members[chart])
        for (size_t k = 0; k < 3; ++k) {
          const uint32_t next = neighbors_[3 * size_t{t} + k];
          if (next != kNone && chart_of_[next] != chart) ++shared[chart_of_[next]];
        }
      std::vector<std::pair<int, uint32_t>> candidates;
      for (const auto& [other, sides] : shared) candidates.emplace_back(-sides, other);
      std::sort(candidates.begin(), candidates.end());
      for (const auto& [sides, other] : candidates) {
        Vec3d sum = sums[chart];
        sum += sums[other];
        const double length = std::sqrt(dot(sum, sum));
        const Vec3d mean = length > 0 ? scaled(sum, 1 / length) : axes_[other];
        Vec3d axis = axes_[other];
        if (!all_fit(members[chart], axis)) {
          axis = mean;
          if (!all_fit(members[chart], axis) || !all_fit(members[other], axis)) continue;
        }
        for (const uint32_t t : members[chart]) chart_of_[t] = other;
        members[other].insert(members[other].end(), members[chart].begin(), members[chart].end());
        members[chart].clear();
        sums[other] = sum;
        axes_[other] = axis;
        break;
      }
    }
  }

  const std::vector<std::array<uint32_t, 3>>& triangles_;
  const std::vector<uint32_t> neighbors_;
  std::vector<Vec3d> normals_, axes_;
  std::vector<double> areas_;
  std::vector<uint32_t> chart_of_;
};

}  // namespace

PlaneBasis plane_of(Vec3f axis) {
  const Vec3f other = std::abs(axis.z) < 0.9f ? Vec3f{0, 0, 1} : Vec3f{0, 1, 0};
  const Vec3f right = normalized(cross(other, axis));
  return {right, cross(axis, right)};
}

std::vector<Chart> cut_into_charts(const std::vector<Vec3f>& positions,
                                   const std::vector<std::array<uint32_t, 3>>& triangles) {
  Charting charting(positions, triangles);
  std::vector<Chart> waiting = charting.cut(), charts;
  while (!waiting.empty()) {
    Chart chart = std::move(waiting.back());
    waiting.pop_back();
    const std::vector<uint32_t> surplus = overlapping(positions, triangles, chart);
    if (surplus.empty()) {
      charts.push_back(std::move(chart));
      continue;
    }
    std::vector<uint32_t> kept;
    std::set_difference(chart.triangles.begin(), chart.triangles.end(), surplus.begin(), surplus.end(),
                        std::back_inserter(kept));
    for (const std::vector<uint32_t>* part : {&std::as_const(kept), &surplus})
      for (std::vector<uint32_t>& connected : charting.connected(*part))
        waiting.push_back({std::move(connected), chart.axis});
  }
  return charts;
}

}  // namespace eg4d::mesh
