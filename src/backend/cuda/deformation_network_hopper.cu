// The deformation network on Hopper's tensor cores, forward: a warpgroup keeps
// its rows in shared memory from the features to the outputs. Only what the
// backward pass needs is written.

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/deformation_network_hopper.cuh"

namespace eg4d::cuda {
namespace hopper {
namespace {

struct Forward {
  const float* features;
  bool vectors;  // of four features are aligned
  int in, feature_panels;
  int64_t rows;
  Division division;
  Packed packed;
  int slab_count;
  char* features_copy;  // in units, or null: nothing is kept
  int trunk;
  char* trunk_output[kMostTrunk];
  int heads;
  struct Head {
    const float* last_bias;
    char* hidden;
    float* output;
    int out;
  } head[kMostHeads];
};

template <int kWidth, int kParts>
class ForwardRows : Warpgroup<kWidth, kParts, kParts == 2> {
 public:
  __device__ ForwardRows(const Forward& f, const Ring<kWidth, kParts>& ring, char* tiles, int number)
      : Base(ring, tiles, f.division, number), f_(f) {}

  __device__ void run() {
    load_features();
    for (int i = 0; i < f_.trunk; ++i) {
      publish();
      multiply_panels(i == 0 ? f_.feature_panels : kPanels<kWidth>, i, -1);
      wait_for_warpgroup(number_);  // the tile is read no more
      finish_layer(i);
    }
    publish();
    for (int i = 0; i < f_.heads; ++i) {
      multiply_panels(kPanels<kWidth>, f_.trunk + i, i);
      finish_head(i);
    }
  }

 private:
  using Base = Warpgroup<kWidth, kParts, kParts == 2>;
  using Base::sums_, Base::lane_, Base::warp_, Base::number_, Base::tile_, Base::unit_;

  // What is read after the products comes nearer meanwhile.
  __device__ void multiply_panels(int panels, int layer, int head) {
    Warmed<1> biases;
    Warmed<std::max(kWidth / 128, 1)> last;
    this->template multiply<kWidth>(panels, false, [&](int panel) {
      if (panel > 0) return;
      biases.load(f_.packed.biases + layer * (kWidth / 4), 4 * kWidth);
      if (head >= 0) last.load(f_.packed.last + head * (8 * kWidth), 32 * kWidth);
    });
    biases.use();
    last.use();
  }
  __device__ int64_t global_row(int row) const { return unit_ * kUnitRows + row; }

  // Makes the tile an operand.
  __device__ void publish() const {
    publish_to_copies();
    wait_for_warpgroup(number_);
  }

  // Of numbers of the tile. f16 is scaled by a power of two, so that a row's
  // largest is near 2¹⁴.
  static __device__ Pair<kParts> tile_pair(float first, float second, float scale) {
    if constexpr (kScaled)
      return split_half(first * scale, second * scale);
    else
      return split<kParts>(first, second);
  }
  // Also says by what products with that row's numbers, and weights, are to be
  // multiplied.
  static __device__ float scale_of(float largest, float& unscale) {
    const int exponent = static_cast<int>(__float_as_uint(largest) >> 23);  // 0: none, 255: not finite
    const int scale = exponent == 0 || exponent >= 255 ? 127 : min(127 + 14 + 127 - exponent, 250);
    unscale = __uint_as_float(static_cast<uint32_t>(254 - scale) << 23) / kWeightScale;
    return __uint_as_float(static_cast<uint32_t>(scale) << 23);
  }

  // A warp takes its rows one by one, a lane four neighbouring columns.
  __device__ void load_features() {
    constexpr int kChunks = std::max(kWidth / 128, 1);
    const int columns = f_.feature_panels * kPanelColumns;
#pragma unroll 8
    for (int i = 0; i < 16; ++i) {
      const int row = 16 * warp_ + i;
      float x[kChunks][4], largest = 0;
#pragma unroll
      for (int chunk = 0; chunk < kChunks; ++chunk) {
        load_four(global_row(row), 128 * chunk + 4 * lane_, x[chunk]);
#pragma unroll
        for (const float value : x[chunk]) largest = fmaxf(largest, fabsf(value));
      }
      float scale = 1;
      if constexpr (kScaled) {
        for (int step = 16; step > 0; step /= 2)
          largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, step));
        float unscale;
        scale = scale_of(largest, unscale);
        if (i % 8 == lane_ / 4) (i < 8 ? unscale_[0] : unscale_[1]) = unscale;
      }
#pragma unroll
      for (int chunk = 0; chunk < kChunks; ++chunk) {
        const int column = 128 * chunk + 4 * lane_;
        if (column >= columns) continue;
        const float(&y)[4] = x[chunk];
        store_features(tile_, kPanels<kWidth>, row, column, tile_pair(y[0], y[1], scale),
                       tile_pair(y[2], y[3], scale));
        if (f_.features_copy)
          store_features(f_.features_copy + unit_ * kParts * f_.feature_panels * kPanelBytes,
                         f_.feature_panels, row, column, split<kParts>(y[0], y[1]),
                         split<kParts>(y[2], y[3]));
      }
    }
  }
  __device__ void load_four(int64_t row, int column, float (&x)[4]) const {
    const float* const from = f_.features + row * f_.in + column;
    if (f_.vectors) {
      const bool there = row < f_.rows && column < f_.in;
      const float4 all = there ? __ldg(reinterpret_cast<const float4*>(from)) : make_float4(0, 0, 0, 0);
      x[0] = all.x, x[1] = all.y, x[2] = all.z, x[3] = all.w;
      return;
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) x[k] = row < f_.rows && column + k < f_.in ? __ldg(from + k) : 0.0f;
  }
  static __device__ void store_features(char* to, int panels, int row, int column, const Pair<kParts>& left,
                                        const Pair<kParts>& right) {
#pragma unroll
    for (int part = 0; part < kParts; ++part)
      *reinterpret_cast<uint2*>(to + (part * panels + column / kPanelColumns) * kPanelBytes +
                                in_panel(row, column % kPanelColumns)) =
          make_uint2(left.part[part], right.part[part]);
  }

  static __device__ float relu(float x) {
    float y;
    asm("max.NaN.f32 %0, %1, 0f00000000;" : "=f"(y) : "f"(x));
    return y;
  }
  // With bias and ReLU: columns 16j + 2t + {0, 1} (right: + 8) of row(half).
  struct Finished {
    float left[2], right[2];
  };
  __device__ Finished finished(const float4& bias, int j, int half) const {
    const float *c = sums_ + 8 * j + 2 * half, scale = unscale_[half];
    if constexpr (kScaled)
      return {{relu(fmaf(c[0], scale, bias.x)), relu(fmaf(c[1], scale, bias.y))},
              {relu(fmaf(c[4], scale, bias.z)), relu(fmaf(c[5], scale, bias.w))}};
    else
      return {{relu(c[0] + bias.x), relu(c[1] + bias.y)}, {relu(c[4] + bias.z), relu(c[5] + bias.w)}};
  }
  __device__ float4 bias(int layer, int j) const {
    return read_early(f_.packed.biases + layer * (kWidth / 4) + 4 * j + lane_ % 4);
  }
  // Of what is read in order, this many are on their way.
  static constexpr int kAhead = 4, kSteps = kWidth / 16;

  // A layer of the trunk: to the tile and to memory.
  __device__ void finish_layer(int layer) {
    float largest[2] = {};
    float4 ahead[kAhead];
#pragma unroll
    for (int j = 0; j < kAhead; ++j) ahead[j] = bias(layer, j);
#pragma unroll
    for (int j = 0; j < kSteps; ++j) {
      const float4 biases = ahead[j % kAhead];
      if (j + kAhead < kSteps) ahead[j % kAhead] = bias(layer, j + kAhead);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const Finished y = finished(biases, j, half);
#pragma unroll
        for (int k = 0; k < 2; ++k) {
          sums_[8 * j + 2 * half + k] = y.left[k];
          sums_[8 * j + 2 * half + k + 4] = y.right[k];
          largest[half] = fmaxf(largest[half], fmaxf(y.left[k], y.right[k]));
        }
      }
    }
    float scale[2] = {};
    if constexpr (kScaled)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        largest[half] = fmaxf(largest[half], __shfl_xor_sync(0xffffffffu, largest[half], 1));
        largest[half] = fmaxf(largest[half], __shfl_xor_sync(0xffffffffu, largest[half], 2));
        scale[half] = scale_of(largest[half], unscale_[half]);
      }
    char* const array = f_.trunk_output[layer];
    char* const unit = array ? array + unit_ * kUnitBytes<kWidth, kParts> : nullptr;
#pragma unroll
    for (int j = 0; j < kWidth / 16; ++j) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float* y = sums_ + 8 * j + 2 * half;
        this->to_tile(j, half, tile_pair(y[0], y[1], scale[half]), tile_pair(y[4], y[5], scale[half]));
        if (unit) this->to_unit(unit, j, half, split<kParts>(y[0], y[1]), split<kParts>(y[4], y[5]));
      }
    }
  }

  // A head: its hidden layer to memory, and through its last one, always in two
  // parts.
  __device__ void finish_head(int number) {
    const Forward::Head& head = f_.head[number];
    char* const unit = head.hidden ? head.hidden + unit_ * kUnitBytes<kWidth, kParts> : nullptr;
    const uint2* const last = reinterpret_cast<const uint2*>(f_.packed.last) + number * (4 * kWidth) + lane_;
    struct Read {
      float4 biases;
      uint2 first, second;  // parts of the last layer's weights
    } ahead[kAhead];
    const auto read = [&](int j) {
      return Read{bias(f_.trunk + number, j), read_early(last + 32 * j),
                  read_early(last + 2 * kWidth + 32 * j)};
    };
#pragma unroll
    for (int j = 0; j < kAhead; ++j) ahead[j] = read(j);
    float y[3][4] = {};
#pragma unroll
    for (int j = 0; j < kSteps; ++j) {
      const auto [biases, first, second] = ahead[j % kAhead];
      if (j + kAhead < kSteps) ahead[j % kAhead] = read(j + kAhead);
      uint32_t a[2][4];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const Finished x = finished(biases, j, half);
        const Pair<2> left = split<2>(x.left[0], x.left[1]), right = split<2>(x.right[0], x.right[1]);
        if (unit) this->to_unit(unit, j, half, left, right);
#pragma unroll
        for (int part = 0; part < 2; ++part) {
          a[part][half] = left.part[part];
          a[part][half + 2] = right.part[part];
        }
      }
      multiply_add(y[0], a[0], first.x, first.y);
      multiply_add(y[1], a[1], first.x, first.y);
      multiply_add(y[2], a[0], second.x, second.y);
      multiply_add(y[2], a[1], second.x, second.y);
    }
    const int o = lane_ % 4 * 2;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int64_t row = global_row(this->row(i / 2));
      if (row < f_.rows && o + i % 2 < head.out)
        head.output[row * head.out + o + i % 2] = y[0][i] + (y[1][i] + y[2][i]) + head.last_bias[o + i % 2];
    }
  }

  static constexpr bool kScaled = kParts == 2;

  const Forward& f_;
  float unscale_[2];  // of row(half)
};

template <int kWidth, int kParts>
__global__ void __launch_bounds__(kThreads, kBlocksAtOnce<kWidth>)
    forward_kernel(const __grid_constant__ Forward f) {
  extern __shared__ __align__(1024) char shared[];
  const Ring<kWidth, kParts> ring(shared);
  const int warpgroups = f.division.count(blockIdx.x);
  if (threadIdx.x == 0) {
    ring.prepare(warpgroups);
    publish_barriers();
  }
  __syncthreads();
  play_roles<kWidth>(
      warpgroups, [&] { ring.fetch(f.packed.slabs, f.slab_count); },
      [&](int number) { ForwardRows<kWidth, kParts>(f, ring, shared, number).run(); });
}

template <int kWidth, int kParts>
void launch(Forward& f, cudaStream_t stream) {
  f.division = divided(f.rows, kBlocksAtOnce<kWidth>);
  launch_with(forward_kernel<kWidth, kParts>, dim3(static_cast<unsigned>(f.division.blocks())), kThreads,
              kSharedBytes<kWidth, kParts>, f, stream, "computing the network");
}

// Of the device in use.
int attribute(cudaDeviceAttr which) {
  int device = 0, value = 0;
  if (cudaGetDevice(&device) != cudaSuccess || cudaDeviceGetAttribute(&value, which, device) != cudaSuccess) {
    cudaGetLastError();  // is told by whatever comes next
    return 0;
  }
  return value;
}

}  // namespace

Division divided(int64_t rows, int blocks_at_once) {
  const int64_t units = units_of(rows);
  const int64_t places = int64_t{std::max(attribute(cudaDevAttrMultiProcessorCount), 1)} * blocks_at_once;
  const int64_t rounds = units / (2 * places), left = units - 2 * places * rounds;
  return {units, left > places ? units / 2 : places * rounds};
}

int64_t array_bytes(int64_t rows, int columns, int parts) {
  return units_of(rows) * parts * ((columns + kPanelColumns - 1) / kPanelColumns) * kPanelBytes;
}
char* array_at(const Shape& shape, int parts, void* activations, int64_t number) {
  return static_cast<char*>(activations) + number * array_bytes(shape.rows, shape.width, parts);
}

}  // namespace hopper

bool hopper_fits(const Mlp& network) {
  return !network.any_gpu && bf16_fits(network) &&
         hopper::attribute(cudaDevAttrComputeCapabilityMajor) == 9 &&
         hopper::attribute(cudaDevAttrComputeCapabilityMinor) == 0;
}

size_t hopper_activation_bytes(const Mlp& network, int parts) {
  const bf16::Shape shape(network, false);
  return static_cast<size_t>(shape.arrays * hopper::array_bytes(shape.rows, shape.width, parts) +
                             hopper::array_bytes(shape.rows, shape.in, parts));
}

void hopper_forward(const Mlp& network, int parts, void* workspace, cudaStream_t stream) {
  using namespace hopper;
  const Shape shape(network, false);
  if (shape.rows == 0) return;
  std::vector<const DenseLayer*> layers;
  Forward f{};
  f.features = network.features;
  f.in = shape.in;
  f.vectors = shape.in % 4 == 0 && reinterpret_cast<uintptr_t>(f.features) % sizeof(float4) == 0;
  f.feature_panels = shape.slabs_of_features();
  f.rows = shape.rows;
  const auto kept = [&](int64_t array) {
    return network.activations ? array_at(shape, parts, network.activations, array) : nullptr;
  };
  f.features_copy = kept(shape.arrays);
  for (const DenseLayer& layer : network.trunk) {
    layers.push_back(&layer);
    f.trunk_output[f.trunk] = kept(f.trunk);
    ++f.trunk;
  }
  for (const Shape::Head& head : shape.heads) {
    const DenseLayer& last = head.head->last;
    layers.push_back(&head.head->hidden);
    f.head[f.heads++] = {last.bias, kept(head.hidden), head.head->output, last.out};
  }
  f.slab_count = parts * (f.feature_panels + (f.trunk - 1 + f.heads) * shape.slabs_of_width());
  f.packed = pack(layers, shape, parts, false, workspace, stream);
  const auto run = [&]<int kWidth>() {
    parts == 2 ? launch<kWidth, 2>(f, stream) : launch<kWidth, 1>(f, stream);
  };
  if (shape.width == 256) return run.operator()<256>();
  if (shape.width == 128) return run.operator()<128>();
  run.operator()<64>();
}

}  // namespace eg4d::cuda
