// The hexplane's backward pass: its memory, and the order of its steps (hexplane_backward.cuh).

#include <bit>

#include "backend/cuda/check.h"
#include "backend/cuda/hexplane_backward.cuh"
#include "backend/cuda/splat_kernels.h"

namespace eg4d::cuda {
namespace {

FieldGeometry geometry_of(const HexPlaneLayout& layout) {
  const HexPlaneGeometry from = hexplane_geometry(layout);
  FieldGeometry g{};
  g.channels = from.channels;
  g.levels = from.levels;
  for (int l = 0; l < g.levels; ++l) {
    FieldGeometry::Level& level = g.level[l];
    const HexPlaneGeometry::Plane* planes = from.planes + 6 * l;
    for (int k = 0; k < 3; ++k) {
      const HexPlaneGeometry::Plane &space = planes[k == 2 ? 3 : k], &time = planes[k == 0 ? 2 : 3 + k];
      if (space.offset % g.channels != 0)
        not_on_this_device("the GPU takes planes that begin with a whole texel; use --device cpu");
      level.size[k] = time.columns;
      level.space[k] = {space.offset, g.cells};
      level.time[k] = {time.offset, g.columns};
      g.cells += static_cast<uint32_t>(space.rows + 1) * static_cast<uint32_t>(space.columns);
      g.columns += time.columns;
    }
    level.size[3] = planes[2].rows;
  }
  return g;
}

size_t lay_out(const FieldGeometry& g, int64_t count, void* memory, FieldWorkspace& w) {
  const int64_t pairs = int64_t{3} * g.levels * count;
  if (2 * pairs > INT32_MAX) fail("there are too many Gaussians for the GPU's field (2^30 pairs)");
  if (g.channels > 1024)
    not_on_this_device("the GPU takes a field of at most 1024 channels; use --device cpu");
  w = {};
  w.pairs = static_cast<uint32_t>(pairs);
  w.items = static_cast<uint32_t>(pairs + count);
  w.points = tile_points(g.channels);
  w.tiles = static_cast<int>((count + w.points - 1) / w.points);
  w.cut_count = (2 * w.pairs + kCutEntries - 1) / kCutEntries;
  const int64_t room = int64_t{w.tiles} * w.points;
  w.sort.count = w.items;
  w.sort.digits = (std::bit_width(g.cells + kMortonNumbers) + kRadixBits - 1) / kRadixBits;
  char* const begin = static_cast<char*>(memory);
  size_t used = 0;
  const auto take = [&](auto*& piece, int64_t items) {
    piece = begin ? reinterpret_cast<std::remove_reference_t<decltype(piece)>>(begin + used) : nullptr;
    used += (static_cast<size_t>(items) * sizeof(*piece) + 255) / 256 * 256;
  };
  take(w.d_values, pairs * g.channels);
  for (int k = 0; k < 2; ++k) {
    take(w.sort.keys[k], w.items);
    take(w.sort.items[k], w.items);
  }
  w.key = w.sort.keys[w.sort.digits % 2];
  w.item = w.sort.items[w.sort.digits % 2];
  take(w.finished, 1 + radix_sort_words(w.items, w.sort.digits));
  if (w.finished) place_radix_sort(w.sort, w.finished + 1);
  take(w.begin, int64_t{g.cells} + 1);
  take(w.entries, 2 * pairs);
  take(w.cuts, int64_t{w.cut_count} + 1);
  take(w.coordinates, 3 * room);
  take(w.ranks, 3 * room);
  take(w.time_rows, int64_t{g.columns} * g.channels);
  take(w.partial, int64_t{w.tiles} * g.columns * g.channels);
  take(w.span, int64_t{3} * g.levels * w.tiles);
  take(w.active, g.levels * count);
  take(w.d_coordinates, 3 * g.levels * count);
  take(w.box, 6 * int64_t{blocks_for(count, kHexPlaneThreads)});
  return used;
}

// Calls step(field, geometry, workspace) if there is anything to do.
template <class Step>
void with_workspace(const HexPlaneBackward& backward, void* memory, const Step& step) {
  const Field field(backward);
  const HexPlaneLayout& layout = field.context->description.planes;
  if (field.count == 0 || layout.feature_width() == 0) return;
  const FieldGeometry g = geometry_of(layout);
  FieldWorkspace w;
  lay_out(g, field.count, memory, w);
  step(field, g, w);
}

}  // namespace

size_t hexplane_backward_workspace_bytes(const HexPlaneLayout& layout, int64_t count) {
  FieldWorkspace w;
  return lay_out(geometry_of(layout), count, nullptr, w);
}

void hexplane_backward_order(const HexPlaneBackward& backward, void* workspace, cudaStream_t stream) {
  with_workspace(backward, workspace, [&](const auto& field, const auto& g, const auto& w) {
    hexplane_order(field, g, w, stream);
    check_launch("ordering the points of the field");
  });
}

void hexplane_backward_gradients(const HexPlaneBackward& backward, void* workspace, cudaStream_t stream) {
  with_workspace(backward, workspace, [&](const auto& field, const auto& g, const auto& w) {
    hexplane_values(field, g, w, stream);
    hexplane_gather(field, g, w, stream);
    check_launch("computing the gradients of the field");
  });
}

void hexplane_backward(const HexPlaneBackward& backward, void* workspace, cudaStream_t stream) {
  hexplane_backward_order(backward, workspace, stream);
  hexplane_backward_gradients(backward, workspace, stream);
}

}  // namespace eg4d::cuda
