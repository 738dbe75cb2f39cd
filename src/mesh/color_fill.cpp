#include "mesh/color_fill.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <tuple>

namespace eg4d::mesh {
namespace {

constexpr int kEvening = 30;  // rounds

// For each position the number of its place: positions that are equal have one.
struct Places {
  std::vector<uint32_t> of_position;
  uint32_t count = 0;
};
Places places_of(const std::vector<Vec3f>& positions) {
  const auto key = [&](uint32_t i) { return std::tie(positions[i].x, positions[i].y, positions[i].z); };
  std::vector<uint32_t> order(positions.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return key(a) < key(b); });
  Places places{std::vector<uint32_t>(positions.size()), 0};
  for (size_t i = 0; i < order.size(); ++i) {
    if (i > 0 && key(order[i]) != key(order[i - 1])) ++places.count;
    places.of_position[order[i]] = places.count;
  }
  places.count += positions.empty() ? 0 : 1;
  return places;
}

// The neighbours of each place, one after the other; `begins` has one more.
struct Neighbors {
  std::vector<uint32_t> begins, places;

  Neighbors(const TriangleMesh& mesh, const Places& of) : begins(of.count + 1, 0) {
    const auto for_each_side = [&](auto&& visit) {
      for (const auto& triangle : mesh.triangles)
        for (size_t k = 0; k < 3; ++k) {
          const uint32_t a = of.of_position[triangle[k]], b = of.of_position[triangle[(k + 1) % 3]];
          visit(a, b);
          visit(b, a);
        }
    };
    for_each_side([&](uint32_t a, uint32_t) { ++begins[a + 1]; });
    std::partial_sum(begins.begin(), begins.end(), begins.begin());
    places.resize(begins.back());
    std::vector<uint32_t> next(begins.begin(), begins.end() - 1);
    for_each_side([&](uint32_t a, uint32_t b) { places[next[a]++] = b; });
  }
  template <class Visit>
  void of(uint32_t place, Visit&& visit) const {
    for (uint32_t i = begins[place]; i < begins[place + 1]; ++i) visit(places[i]);
  }
};

}  // namespace

void fill_colors(const TriangleMesh& mesh, std::vector<bool> known, std::vector<Vec3f>& colors) {
  const Places places = places_of(mesh.positions);
  const Neighbors neighbors(mesh, places);
  std::vector<Vec3f> of_place(places.count);
  std::vector<uint32_t> seen(places.count, 0);
  Vec3f mean;
  size_t total = 0;
  for (size_t i = 0; i < known.size(); ++i)
    if (known[i]) {
      of_place[places.of_position[i]] += colors[i];
      ++seen[places.of_position[i]];
      mean += colors[i];
      ++total;
    }
  mean = total > 0 ? mean * (1 / static_cast<float>(total)) : Vec3f{0.5f, 0.5f, 0.5f};
  std::vector<bool> has(places.count);
  for (uint32_t p = 0; p < places.count; ++p) {
    has[p] = seen[p] > 0;
    if (has[p]) of_place[p] = of_place[p] * (1 / static_cast<float>(seen[p]));
  }
  // Ring by ring around what is known.
  const auto mean_of_neighbors = [&](uint32_t place, Vec3f otherwise) {
    Vec3f sum;
    float count = 0;
    neighbors.of(place, [&](uint32_t other) {
      if (!has[other]) return;
      sum += of_place[other];
      ++count;
    });
    return count > 0 ? sum * (1 / count) : otherwise;
  };
  std::vector<uint32_t> filled, ring;
  std::vector<bool> waits(places.count, false);
  const auto add_neighbors = [&](uint32_t place, std::vector<uint32_t>& next) {
    neighbors.of(place, [&](uint32_t other) {
      if (has[other] || waits[other]) return;
      waits[other] = true;
      next.push_back(other);
    });
  };
  for (uint32_t p = 0; p < places.count; ++p)
    if (has[p]) add_neighbors(p, ring);
  while (!ring.empty()) {
    std::vector<Vec3f> found;
    for (const uint32_t p : ring) found.push_back(mean_of_neighbors(p, mean));
    for (size_t i = 0; i < ring.size(); ++i) {
      of_place[ring[i]] = found[i];
      has[ring[i]] = true;
    }
    filled.insert(filled.end(), ring.begin(), ring.end());
    std::vector<uint32_t> next;
    for (const uint32_t p : ring) add_neighbors(p, next);
    ring = std::move(next);
  }
  for (uint32_t p = 0; p < places.count; ++p)
    if (!has[p]) of_place[p] = mean;
  for (int round = 0; round < kEvening; ++round)
    for (const uint32_t p : filled) of_place[p] = mean_of_neighbors(p, of_place[p]);
  for (size_t i = 0; i < known.size(); ++i)
    if (!known[i]) colors[i] = of_place[places.of_position[i]];
}

void fill_texels(Picture& texture, std::vector<bool> known) {
  const auto width = static_cast<size_t>(texture.width), height = static_cast<size_t>(texture.height);
  const auto channels = static_cast<size_t>(texture.channels);
  std::vector<size_t> ring;
  for (size_t i = 0; i < known.size(); ++i)
    if (known[i]) ring.push_back(i);
  while (!ring.empty()) {
    std::vector<size_t> next;
    const auto give = [&](size_t from, size_t to) {
      if (known[to]) return;
      known[to] = true;
      std::memcpy(&texture.data[to * channels], &texture.data[from * channels], channels);
      next.push_back(to);
    };
    for (const size_t texel : ring) {
      const size_t x = texel % width, y = texel / width;
      if (x > 0) give(texel, texel - 1);
      if (x + 1 < width) give(texel, texel + 1);
      if (y > 0) give(texel, texel - width);
      if (y + 1 < height) give(texel, texel + width);
    }
    ring = std::move(next);
  }
}

}  // namespace eg4d::mesh
