// The deformation network on Hopper's tensor cores, backward, as a whole: rows back through all layers
// (…_backward.cu), their derivatives times the layers' inputs (…_weights.cu), and the partial sums of both,
// added in a fixed order.

#include <type_traits>

#include "backend/cuda/deformation_network_hopper.cuh"

namespace eg4d::cuda {
namespace hopper {
namespace {

// Pieces of the workspace.
struct Scratch {
  char *packed, *derivatives;  // of heads + trunk
  float* last_parts;           // [heads, units, 8, width + 1]
  float* parts;                // [heads + trunk, splits, width, width + 1]
  size_t bytes;
};
Scratch lay_out(const Shape& shape, int parts, void* memory) {
  const int64_t heads = static_cast<int64_t>(shape.heads.size()), sources = heads + shape.trunk,
                width = shape.width, floats = int64_t{sizeof(float)};
  Scratch s{};
  const auto take = [&](auto*& piece, int64_t bytes) {
    char* const at = static_cast<char*>(memory) + s.bytes;
    piece = memory ? reinterpret_cast<std::remove_reference_t<decltype(piece)>>(at) : nullptr;
    s.bytes += static_cast<size_t>(bytes + 255) / 256 * 256;
  };
  take(s.packed, static_cast<int64_t>(packed_bytes(shape, parts)));
  take(s.derivatives, sources * array_bytes(shape.rows, shape.width, parts));
  take(s.last_parts, heads * units_of(shape.rows) * kMostOutputs * (width + 1) * floats);
  take(s.parts, sources * splits_for(shape) * width * (width + 1) * floats);
  return s;
}

}  // namespace
}  // namespace hopper

size_t hopper_workspace_bytes(const Mlp& network, int parts, bool backward) {
  using namespace hopper;
  const Shape shape(network, backward);
  if (backward) return lay_out(shape, parts, nullptr).bytes;
  return packed_bytes(shape, parts);
}

void hopper_backward(const Mlp& network, int parts, void* workspace, cudaStream_t stream,
                     const StreamBeside& beside) {
  using namespace hopper;
  const Shape shape(network, true);
  if (shape.rows == 0) return;
  const Scratch scratch = lay_out(shape, parts, workspace);
  const int64_t width = shape.width, pitch = width + 1, units = units_of(shape.rows);
  Backward b{};
  b.rows = shape.rows;
  b.d_features = network.d_features;
  b.in = shape.in;
  Weights w{};
  w.units = units;
  w.splits = splits_for(shape);
  Sums sums, last_sums;
  std::vector<const DenseLayer*> layers;
  bool frozen = true;
  // One layer: its output (an array of the activations) and its input (another,
  // or the features).
  const auto add_source = [&](const DenseLayer& layer, int64_t output, int64_t input) {
    const int source = b.sources++;
    layers.push_back(&layer);
    b.output[source] = array_at(shape, parts, network.activations, output);
    b.derivative[source] = scratch.derivatives + source * array_bytes(shape.rows, shape.width, parts);
    float* const of_weights = scratch.parts + source * w.splits * width * pitch;
    float* const of_biases = of_weights + w.splits * width * width;
    w.layer[w.layers++] = {
        b.derivative[source], array_at(shape, parts, network.activations, input < 0 ? shape.arrays : input),
        input < 0 ? shape.slabs_of_features() : shape.slabs_of_width(), of_weights, of_biases};
    sums.add({layer.d_weight, of_weights, width * layer.in, layer.in, width, width * width, w.splits});
    sums.add({layer.d_bias, of_biases, width, width, 0, width, w.splits});
    frozen &= !layer.d_weight && !layer.d_bias;
  };
  for (const Shape::Head& head : shape.heads) {
    const DenseLayer& last = head.head->last;
    float* const of_head = scratch.last_parts + b.heads * units * kMostOutputs * pitch;
    b.head[b.heads++] = {head.head->d_output, of_head, last.out};
    last_sums.add({last.d_weight, of_head, last.out * width, width, pitch, last.out * pitch, units});
    last_sums.add({last.d_bias, of_head + width, last.out, 1, pitch, last.out * pitch, units});
    add_source(head.head->hidden, head.hidden, shape.trunk - 1);
  }
  for (int i = shape.trunk - 1; i >= 0; --i) add_source(network.trunk[static_cast<size_t>(i)], i, i - 1);
  b.slab_count = parts * (b.sources - (b.d_features ? 0 : 1)) * shape.slabs_of_width();
  b.packed = pack(layers, shape, parts, true, scratch.packed, stream);
  backward_rows(b, shape.width, parts, stream);
  const cudaStream_t of_weights = beside ? beside() : stream;
  if (!frozen) weight_gradients(w, shape.width, parts, of_weights);
  if (sums.count + last_sums.count <= kMostSums) {
    for (int i = 0; i < last_sums.count; ++i) sums.add(last_sums.sum[i]);
    last_sums.count = 0;
  }
  add_parts(sums, of_weights);
  add_parts(last_sums, of_weights);
}

}  // namespace eg4d::cuda
