// The deformation network on Hopper's tensor cores, backward: a warpgroup takes its rows back through all
// layers and writes the derivatives before every ReLU.

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/deformation_network_hopper.cuh"

namespace eg4d::cuda::hopper {
namespace {

template <int kWidth, int kParts>
class BackwardRows : Warpgroup<kWidth, kParts, false> {
 public:
  // `loaded`: a barrier for each panel.
  __device__ BackwardRows(const Backward& b, const Ring<kWidth, kParts>& ring, char* tiles, uint64_t* loaded,
                          int number)
      : Warpgroup<kWidth, kParts, false>(ring, tiles, b.division, number), b_(b), loaded_(loaded) {}

  __device__ void run() {
    for (int panel = 0; panel < kPanels<kWidth>; ++panel) load(0, panel);
    if (kEarly) load_d_outputs(0);
#pragma unroll
    for (float& sum : sums_) sum = 0;
    for (int source = 0; source < b_.sources; ++source) {
      if (this->elected() && source + 1 < b_.sources)
        bring_near(b_.output[source + 1] + unit_ * kBytes, kBytes);
      if (source < b_.heads) {
        if (!kEarly) load_d_outputs(source);
        last_layer_gradient(source);
        wait_for_warpgroup(number_);  // now the tile may change
        through_last_layer(source);
      } else {
        through_relu(source);
      }
      if (kEarly) load_d_outputs(source + 1);
      publish_to_copies();
      wait_for_warpgroup(number_);
      if (this->elected()) write_derivative(source);
      if (source + 1 < b_.sources || b_.d_features) multiply_with(source);
    }
    if (b_.d_features) add_to_features();
    if (this->elected()) wait_until_written();
  }

 private:
  using Base = Warpgroup<kWidth, kParts, false>;
  using Base::sums_, Base::lane_, Base::number_, Base::warp_, Base::tile_, Base::unit_;
  static constexpr int kBytes = kUnitBytes<kWidth, kParts>;
  // Whether registers are left for derivatives that are not needed before the products.
  static constexpr bool kEarly = kParts == 1;

  // Panel by panel, in groups of copies.
  __device__ void write_derivative(int source) const {
#pragma unroll
    for (int panel = 0; panel < kPanels<kWidth>; ++panel) {
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        const int at = (part * kPanels<kWidth> + panel) * kPanelBytes;
        copy_out(b_.derivative[source] + unit_ * kBytes + at, tile_ + at, kPanelBytes);
      }
      end_copies_out();
    }
  }
  // Fetches a panel of an output, after what has been copied out of it was read.
  __device__ void load(int source, int panel) const {
    if (!this->elected() || source >= b_.sources) return;
    if (panel == kPanels<kWidth> - 1)
      wait_until_read<0>();
    else if (panel == kPanels<kWidth> - 2)
      wait_until_read<1>();
    else if (panel == kPanels<kWidth> - 3)
      wait_until_read<2>();
    else
      wait_until_read<3>();
    arrive_expecting(loaded_ + panel, kParts * kPanelBytes);
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      const int at = (part * kPanels<kWidth> + panel) * kPanelBytes;
      copy_in(tile_ + at, b_.output[source] + unit_ * kBytes + at, kPanelBytes, loaded_ + panel);
    }
  }
  __device__ void wait_for_panel(int source, int panel) const {
    wait_for_phase(loaded_ + panel, source & 1);
  }

  // Panels of the next output come as soon as those of this derivative are done
  // with.
  __device__ void multiply_with(int source) {
    // What a head adds; behind the trunk's layers, sums begin anew.
    const bool add = source > 0 && source < b_.heads;
    Warmed<std::max(kParts * kWidth / 256, 1)> last;
    const auto done = [&](int panel) {
      if (source + 1 == b_.sources) return;
      wait_for_warpgroup(number_);
      load(source + 1, panel);
      if (panel == 0 && source + 1 < b_.heads)
        last.load(b_.packed.last + (source + 1) * kParts * 4 * kWidth, kParts * 16 * kWidth);
    };
    if (source + 1 == b_.sources && kWidth > 64 && 2 * b_.in <= kWidth)
      this->template multiply<std::max(kWidth / 2, 64)>(kPanels<kWidth>, add, done);
    else
      this->template multiply<kWidth>(kPanels<kWidth>, add, done);
    last.use();
  }

  // An output's derivative in a row of the unit; zero beyond the rows and the outputs.
  __device__ float d_output(const Backward::Head& head, int row, int o) const {
    const int64_t at = unit_ * kUnitRows + row;
    return at < b_.rows && o < head.out ? __ldg(head.d_output + at * head.out + o) : 0.0f;
  }
  // Those that this lane needs of a head, before they are needed.
  __device__ void load_d_outputs(int source) {
    if (source >= b_.heads) return;
    const Backward::Head& head = b_.head[source];
    const int g = lane_ / 4, t = lane_ % 4;
#pragma unroll
    for (int i = 0; i < 16; ++i) of_column_[i] = d_output(head, i / 2 * 8 + 2 * t + i % 2, g);
#pragma unroll
    for (int i = 0; i < 4; ++i) of_row_[i] = d_output(head, this->row(i / 2), 2 * t + i % 2);
  }

  // d_weight[o, column] = Σ_row d_output[row, o]·hidden[row, column] of this
  // unit. A warp takes a quarter of each panel, the first one also the bias.
  __device__ void last_layer_gradient(int source) {
    const Backward::Head& head = b_.head[source];
    const int g = lane_ / 4, t = lane_ % 4;
    uint32_t a[4][kParts][2];  // d_output, transposed
    float bias = 0;
#pragma unroll
    for (int deep = 0; deep < 4; ++deep)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float first = of_column_[4 * deep + 2 * half], second = of_column_[4 * deep + 2 * half + 1];
        const Pair<kParts> pair = split<kParts>(first, second);
        // Of what the rest of the layer's gradient is made of.
        bias += kParts == 2
                    ? first + second
                    : __uint_as_float(pair.part[0] << 16) + __uint_as_float(pair.part[0] & 0xffff0000u);
#pragma unroll
        for (int part = 0; part < kParts; ++part) a[deep][part][half] = pair.part[part];
      }
    float* const parts = head.parts + (unit_ * head.out + g) * (kWidth + 1);
    bias += __shfl_xor_sync(0xffffffffu, bias, 1);
    bias += __shfl_xor_sync(0xffffffffu, bias, 2);
    if (warp_ == 0 && t == 0 && g < head.out) parts[kWidth] = bias;
#pragma unroll 1
    for (int panel = 0; panel < kPanels<kWidth>; ++panel) {
      wait_for_panel(source, panel);
      const char* const hidden = tile_ + panel * kPanelBytes;
      // A chain of sums for each pair of parts.
      float left[2 * kParts - 1][4] = {}, right[2 * kParts - 1][4] = {};
#pragma unroll
      for (int deep = 0; deep < 4; ++deep) {
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          uint32_t b[4];
          load_matrices_transposed(
              b, reinterpret_cast<const uint4*>(hidden + part * kPanels<kWidth> * kPanelBytes +
                                                in_panel(16 * deep + ((lane_ >> 3) & 1) * 8 + (lane_ & 7),
                                                         16 * warp_ + (lane_ >> 4) * 8)));
#pragma unroll
          for (int of_a = 0; of_a < kParts - part; ++of_a) {
            const uint32_t rows[4] = {a[deep][of_a][0], 0, a[deep][of_a][1], 0};
            multiply_add(left[2 * part + of_a], rows, b[0], b[1]);
            multiply_add(right[2 * part + of_a], rows, b[2], b[3]);
          }
        }
      }
      if (g >= head.out) continue;
      const int column = kPanelColumns * panel + 16 * warp_ + 2 * t;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if constexpr (kParts == 2) {
          left[0][i] += left[1][i] + left[2][i];
          right[0][i] += right[1][i] + right[2][i];
        }
        parts[column + i] = left[0][i];
        parts[column + 8 + i] = right[0][i];
      }
    }
  }

  // The source's tile becomes the derivative before its ReLU: d_output ·
  // last_weight where it is above 0.
  __device__ void through_last_layer(int source) {
    Pair<kParts> a[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) a[half] = split<kParts>(of_row_[2 * half], of_row_[2 * half + 1]);
    const uint32_t* const last = b_.packed.last + source * kParts * 4 * kWidth + lane_;
    constexpr int kSteps = kWidth / 16, kAhead = kParts == 1 ? 4 : 2;  // so many are on their way
    uint32_t ahead[kAhead][2][kParts];
    const auto read = [&](int j) {
#pragma unroll
      for (int right = 0; right < 2; ++right)
#pragma unroll
        for (int part = 0; part < kParts; ++part)
          ahead[j % kAhead][right][part] = read_early(last + part * 4 * kWidth + 32 * (2 * j + right));
    };
#pragma unroll
    for (int j = 0; j < kAhead; ++j) read(j);
#pragma unroll
    for (int j = 0; j < kSteps; ++j) {
      float d[2][4] = {};
#pragma unroll
      for (int right = 0; right < 2; ++right)
#pragma unroll
        for (int part = kParts - 1; part >= 0; --part)
#pragma unroll
          for (int of_a = kParts - 1 - part; of_a >= 0; --of_a)
            multiply_add(d[right], a[0].part[of_a], a[1].part[of_a], ahead[j % kAhead][right][part]);
      if (j + kAhead < kSteps) read(j + kAhead);
      write_masked(j, d[0], d[1]);
    }
  }

  // The same with what has been added up in sums_.
  __device__ void through_relu(int source) {
#pragma unroll
    for (int j = 0; j < kWidth / 16; ++j) {
      if (j % 4 == 0) wait_for_panel(source, j / 4);
      const float left[4] = {sums_[8 * j], sums_[8 * j + 1], sums_[8 * j + 2], sums_[8 * j + 3]},
                  right[4] = {sums_[8 * j + 4], sums_[8 * j + 5], sums_[8 * j + 6], sums_[8 * j + 7]};
      write_masked(j, left, right);
    }
  }

  static __device__ Pair<kParts> masked(uint32_t output, float first, float second) {
    const auto above = [](uint32_t bits) { return bits - 1 < 0x7f80u; };  // 0 < bf16 <= infinity
    return split<kParts>(above(output & 0xffff) ? first : 0.0f, above(output >> 16) ? second : 0.0f);
  }
  __device__ void write_masked(int j, const float (&left)[4], const float (&right)[4]) {
#pragma unroll
    for (int half = 0; half < 2; ++half)
      this->to_tile(j, half, masked(this->in_tile(0, j, false, half), left[2 * half], left[2 * half + 1]),
                    masked(this->in_tile(0, j, true, half), right[2 * half], right[2 * half + 1]));
  }

  // What is there is read before anything is written, a few columns at a time.
  __device__ void add_to_features() {
    const bool vectors = b_.in % 2 == 0 && reinterpret_cast<uintptr_t>(b_.d_features) % sizeof(float2) == 0;
    constexpr int kAtOnce = 8;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t row = unit_ * kUnitRows + this->row(half);
      if (row >= b_.rows) continue;
      float* const to = b_.d_features + row * b_.in;
#pragma unroll
      for (int first = 0; first < kWidth / 8; first += kAtOnce) {
        float2 sums[kAtOnce];
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
          const int column = 8 * (first + i) + lane_ % 4 * 2;
          if (vectors && column < b_.in) sums[i] = *reinterpret_cast<const float2*>(to + column);
        }
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
          const int column = 8 * (first + i) + lane_ % 4 * 2;
          const float* const own = sums_ + 4 * (first + i) + 2 * half;
          if (column >= b_.in) continue;
          if (vectors) {
            *reinterpret_cast<float2*>(to + column) = make_float2(sums[i].x + own[0], sums[i].y + own[1]);
          } else {
            to[column] += own[0];
            if (column + 1 < b_.in) to[column + 1] += own[1];
          }
        }
      }
    }
  }

  const Backward& b_;
  uint64_t* loaded_;
  // Of the next head's output: rows 8i + 2t + {0, 1} in column g; row(half) in columns 2t + {0, 1}.
  float of_column_[16], of_row_[4];
};

template <int kWidth, int kParts>
__global__ void __launch_bounds__(kThreads, kBlocksAtOnce<kWidth>)
    backward_kernel(const __grid_constant__ Backward b) {
  extern __shared__ __align__(1024) char shared[];
  const Ring<kWidth, kParts> ring(shared);
  const int warpgroups = b.division.count(blockIdx.x);
  if (threadIdx.x == 0) {
    ring.prepare(warpgroups);
    for (int i = 0; i < kWarpgroups * kPanels<kWidth>; ++i) prepare_barrier(ring.others + i, 1);
    publish_barriers();
  }
  __syncthreads();
  play_roles<kWidth>(
      warpgroups, [&] { ring.fetch(b.packed.slabs, b.slab_count); },
      [&](int number) {
        BackwardRows<kWidth, kParts>(b, ring, shared, ring.others + number * kPanels<kWidth>, number).run();
      });
}

template <int kWidth, int kParts>
void launch(Backward& b, cudaStream_t stream) {
  b.division = divided(b.rows, kBlocksAtOnce<kWidth>);
  launch_with(backward_kernel<kWidth, kParts>, dim3(static_cast<unsigned>(b.division.blocks())), kThreads,
              kSharedBytes<kWidth, kParts>, b, stream, "going back through the network");
}

}  // namespace

void backward_rows(Backward& b, int width, int parts, cudaStream_t stream) {
  const auto run = [&]<int kWidth>() {
    parts == 2 ? launch<kWidth, 2>(b, stream) : launch<kWidth, 1>(b, stream);
  };
  if (width == 256)
    run.operator()<256>();
  else if (width == 128)
    run.operator()<128>();
  else
    run.operator()<64>();
}

}  // namespace eg4d::cuda::hopper
