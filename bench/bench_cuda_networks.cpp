// Operations of networks on the GPU at the sizes of a call of SV3D's UNet (2×21×72×72, f16), as CUDA events
// time them: each by every way that there is, with the engine that was found. Arguments: repeats, and which:
// how their names begin.

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <memory>

#include "backend/cuda/networks/convolutions.h"
#include "backend/cuda/networks/group_norm_resident.h"
#include "backend/cuda/networks/layers.h"
#include "backend/cuda/networks/network_kernels.h"
#include "core/half.h"
#include "cuda_measure.h"

namespace eg4d::bench {
namespace {

using namespace eg4d::cuda;

constexpr double kCeiling = 736e12;  // FLOP/s of f16 products on an H200

struct Level {
  int64_t side, channels;
};
constexpr Level kLevels[] = {{72, 320}, {36, 640}, {18, 1280}};
constexpr int64_t kPictures = 42, kFrames = 21;

class Bench {
 public:
  Bench(int repeats, std::string only)
      : repeats_(repeats),
        only_(std::move(only)),
        table_({"operation", "way", "engine", "found in [s]", "ms", "TFLOP/s", "%", "TB/s"}) {}
  ~Bench() { release(); }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  bool wants(const std::string& name) const { return name.starts_with(only_.substr(0, name.size())); }

  Array half(int64_t count, float spread = 1) {
    std::vector<uint16_t> values(1 << 16);
    for (uint16_t& value : values) {
      state_ = state_ * 1664525u + 1013904223u;
      value = float_to_half((static_cast<float>(state_ >> 8) * 0x1p-23f - 1) * spread);
    }
    auto* const memory = static_cast<uint16_t*>(memory_.allocate(static_cast<size_t>(count) * 2));
    for (int64_t begin = 0; begin < count; begin += static_cast<int64_t>(values.size()))
      cuda::check(cudaMemcpyAsync(memory + begin, values.data(),
                                  2 * std::min(values.size(), static_cast<size_t>(count - begin)),
                                  cudaMemcpyHostToDevice, stream_),
                  "copying to it");
    owned_.push_back(memory);
    return {memory, DType::f16};
  }
  const float* floats(int64_t count) {
    void* const memory = memory_.allocate(static_cast<size_t>(count) * 4);
    cuda::check(cudaMemsetAsync(memory, 0, static_cast<size_t>(count) * 4, stream_), "clearing memory");
    owned_.push_back(memory);
    return static_cast<const float*>(memory);
  }
  void release() {
    for (void* memory : owned_) memory_.release(memory);
    owned_.clear();
    weights_.clear();
  }
  const NetworkWeight* linear(int64_t in, int64_t out) { return convolution(in, out, 1, 1); }
  const NetworkWeight* convolution(int64_t in, int64_t out, int64_t height, int64_t width) {
    std::vector<float> values(static_cast<size_t>(in * out * height * width)), bias(static_cast<size_t>(out));
    for (float& value : values) {
      state_ = state_ * 1664525u + 1013904223u;
      value = (static_cast<float>(state_ >> 8) * 0x1p-23f - 1) /
              std::sqrt(static_cast<float>(in * height * width) / 3);
    }
    weights_.push_back(std::make_unique<NetworkWeight>(
        memory_, store_, stream_,
        ConvolutionWeight{.in = in,
                          .out = out,
                          .kernel_height = height,
                          .kernel_width = width,
                          .weight = values,
                          .bias = bias,
                          .type = {DType::f16, DType::f16, NetworkType::Products::half}}));
    return weights_.back().get();
  }

  void row(const std::string& name, const std::string& way, double flop, double bytes,
           const std::function<void(Pieces&)>& work, const std::function<std::string()>& engine = {}) {
    if (!name.starts_with(only_)) return;
    try {
      const double begin = wall_seconds();
      Pieces pieces;
      work(pieces);
      const double found = wall_seconds() - begin;
      scratch_.reserve(pieces.used() + 256);
      const double ms = milliseconds(work);
      table_.row({name, way, engine ? engine() : "", fmt::format("{:.2f}", found), number(ms),
                  fmt::format("{:.0f}", flop / ms * 1e-9),
                  fmt::format("{:.0f}", 100 * flop / ms * 1e3 / kCeiling),
                  fmt::format("{:.2f}", bytes / ms * 1e-9)});
    } catch (const std::exception& error) {
      table_.row({name, way, error.what(), "", "", "", "", ""});
    }
    std::fflush(stdout);
  }

  cudaStream_t stream() const { return stream_; }
  Layers& layers() { return layers_; }
  Convolutions& convolutions() { return convolutions_; }

 private:
  static cudaStream_t new_stream() {
    cudaStream_t stream = nullptr;
    cuda::check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
    return stream;
  }
  // Median of several, each of some in a row.
  double milliseconds(const std::function<void(Pieces&)>& work) {
    constexpr int kInARow = 4;
    std::vector<float> times;
    for (int i = -2; i < repeats_; ++i) {
      cuda::check(cudaEventRecord(begin_, stream_), "timing");
      for (int j = 0; j < kInARow; ++j) {
        Pieces pieces(scratch_.data());
        work(pieces);
      }
      cuda::check(cudaEventRecord(end_, stream_), "timing");
      cuda::check(cudaEventSynchronize(end_), "working");
      float time = 0;
      cuda::check(cudaEventElapsedTime(&time, begin_, end_), "timing");
      if (i >= 0) times.push_back(time / kInARow);
    }
    std::ranges::sort(times);
    return times[times.size() / 2];
  }

  int repeats_;
  std::string only_;
  Table table_;
  cudaStream_t stream_ = new_stream();
  Memory memory_{0, stream_};
  WeightStore store_{memory_, stream_};
  Block scratch_{memory_};
  Choices choices_;
  Layers layers_{memory_, stream_, choices_};
  Convolutions convolutions_{memory_, stream_, layers_, choices_};
  Event begin_, end_;
  uint32_t state_ = 1;
  std::vector<void*> owned_;
  std::vector<std::unique_ptr<NetworkWeight>> weights_;
};

void products(Bench& bench) {
  if (!bench.wants("product")) return;
  for (const auto& [side, c] : kLevels) {
    const int64_t rows = kPictures * side * side;
    const Array x = bench.half(rows * c), y = bench.half(rows * 8 * c);
    for (const auto& [factor, with_residual] :
         {std::pair{1, false}, {1, true}, {2, false}, {3, false}, {8, false}}) {
      const int64_t out = factor * c;
      const NetworkWeight* const weight = bench.linear(c, out);
      const Layer layer{.rows = rows,
                        .x = x,
                        .weight = *weight,
                        .residual = with_residual ? ConstArray(y) : ConstArray(),
                        .y = y};
      bench.row(fmt::format("product {}×{} → {}{}", rows, c, out, with_residual ? " + residual" : ""),
                "cuBLASLt", 2.0 * static_cast<double>(rows * c * out),
                2.0 * static_cast<double>(rows * (c + out * (with_residual ? 2 : 1)) + c * out),
                [&](Pieces& pieces) { bench.layers().run(layer, pieces); });
    }
    bench.release();
  }
}

void feed_forwards(Bench& bench) {
  if (!bench.wants("feed forward")) return;
  for (const auto& [side, c] : kLevels) {
    const int64_t rows = kPictures * side * side;
    const Array x = bench.half(rows * c), y = bench.half(rows * c);
    const FeedForward a{.rows = rows,
                        .inner = 4 * c,
                        .x = x,
                        .widen = bench.linear(c, 8 * c),
                        .narrow = bench.linear(4 * c, c),
                        .residual = y,
                        .y = y};
    for (const bool gated : {false, true})
      for (const int64_t mib : {128, 576}) {
        bench.layers().use_gated_product(gated);
        bench.layers().set_feed_forward_bytes(static_cast<size_t>(mib) << 20);
        bench.row(fmt::format("feed forward {}×{}", rows, c),
                  fmt::format("{} MiB between{}", mib, gated ? ", gated" : ""),
                  24.0 * static_cast<double>(rows * c * c), 6.0 * static_cast<double>(rows * c),
                  [&](Pieces& pieces) { bench.layers().run(a, pieces); });
      }
    bench.release();
  }
}

void convolutions(Bench& bench) {
  if (!bench.wants("convolution")) return;
  struct Case {
    int64_t batch, height, width, in, out, kernel_height, kernel_width, stride;
    bool residual;
  };
  using Way = Convolutions::Way;
  for (const Case& c :
       {Case{42, 72, 72, 320, 320, 3, 3, 1, false}, Case{42, 72, 72, 320, 320, 3, 3, 1, true},
        Case{42, 72, 72, 640, 320, 3, 3, 1, false}, Case{42, 36, 36, 640, 640, 3, 3, 1, false},
        Case{42, 36, 36, 1920, 640, 3, 3, 1, false}, Case{42, 18, 18, 1280, 1280, 3, 3, 1, false},
        Case{42, 18, 18, 2560, 1280, 3, 3, 1, false}, Case{42, 9, 9, 1280, 1280, 3, 3, 1, false},
        Case{42, 72, 72, 8, 320, 3, 3, 1, false}, Case{42, 72, 72, 320, 4, 3, 3, 1, false},
        Case{42, 72, 72, 320, 320, 3, 3, 2, false}, Case{2, 21, 5184, 320, 320, 3, 1, 1, true},
        Case{2, 21, 1296, 640, 640, 3, 1, 1, true}, Case{2, 21, 324, 1280, 1280, 3, 1, 1, true}}) {
    const int64_t pixels = c.batch * c.height * c.width / c.stride / c.stride;
    const Array x = bench.half(c.batch * c.height * c.width * c.in), y = bench.half(pixels * c.out),
                residual = bench.half(pixels * c.out);
    Convolution a;
    a.batch = c.batch;
    a.height = c.height;
    a.width = c.width;
    a.stride = c.stride;
    a.pad_top = a.pad_bottom = c.kernel_height / 2;
    a.pad_left = a.pad_right = c.kernel_width / 2;
    a.x = x;
    a.weight = bench.convolution(c.in, c.out, c.kernel_height, c.kernel_width);
    if (c.residual) a.residual = residual;
    a.y = y;
    const auto way = [&](const char* name, Way preferred) {
      bench.convolutions().prefer(preferred);
      bench.row(
          fmt::format("convolution {}×{} of {}×{}×{}×{} → {}, stride {}{}", c.kernel_height, c.kernel_width,
                      c.batch, c.height, c.width, c.in, c.out, c.stride, c.residual ? " + residual" : ""),
          name, 2.0 * static_cast<double>(pixels * c.in * c.out * c.kernel_height * c.kernel_width),
          2.0 * static_cast<double>(x.data ? c.batch * c.height * c.width * c.in + pixels * c.out : 0),
          [&](Pieces& pieces) { bench.convolutions().run(a, pieces); },
          [&] { return bench.convolutions().engine_of(a); });
    };
    way("fused", Way::fused);
    way("plain", Way::plain);
    way("columns", Way::columns);
    bench.release();
  }
}

void norms(Bench& bench) {
  if (!bench.wants("norm")) return;
  for (const auto& [side, c] : kLevels) {
    const int64_t pixels = side * side, rows = kPictures * pixels;
    const Array x = bench.half(rows * c), y = bench.half(rows * c), other = bench.half(rows * c),
                add = bench.half(kPictures * c);
    const float *const scale = bench.floats(c), *const shift = bench.floats(c);
    const auto bytes = [&, c = c](int arrays) { return 2.0 * arrays * static_cast<double>(rows * c); };
    for (const int64_t together : {int64_t{1}, kFrames}) {
      const GroupNorm a{.batch = kPictures / together,
                        .positions = pixels * together,
                        .channels = c,
                        .x = x,
                        .scale = scale,
                        .shift = shift,
                        .add = together == 1 ? ConstArray() : ConstArray(add),
                        .add_positions = pixels,
                        .activation = Activation::silu,
                        .y = y};
      const auto group_row = [&, c = c](const char* way, size_t workspace_bytes, const auto& norm) {
        bench.row(fmt::format("norm of groups of {}×{}×{}", kPictures, pixels, c),
                  fmt::format("{}{}", together == 1 ? "pictures" : "videos, add", way), 0, bytes(2),
                  [&](Pieces& pieces) {
                    void* const workspace = pieces.take(workspace_bytes);
                    if (!pieces.counting()) norm(workspace);
                  });
      };
      group_row(", in passes", group_norm_passes_workspace_bytes(a),
                [&](void* workspace) { group_norm_passes(a, workspace, bench.stream()); });
      if (const auto resident = resident_norm(a))
        group_row(", read once", resident_norm_workspace_bytes(*resident),
                  [&](void* workspace) { resident_norm(a, *resident, workspace, bench.stream()); });
    }
    LayerNorm norm{.rows = rows, .width = c, .x = x, .scale = scale, .shift = shift, .y = y};
    const auto name = fmt::format("norm of layers of {}×{}", rows, c);
    const auto layer_row = [&](const char* way, const LayerNorm& a, int arrays) {
      bench.row(name, way, 0, bytes(arrays), [&](Pieces& pieces) {
        if (!pieces.counting()) layer_norm(a, bench.stream());
      });
    };
    layer_row("alone", norm, 2);
    LayerNorm with_add = norm;
    with_add.add = add;
    with_add.rows_per_add = pixels;
    with_add.add_rows = kPictures;
    with_add.sum = x;
    layer_row("add, sum", with_add, 3);
    const MixedNorm mixed{.norm = norm, .reference = other, .strength = 0.5f, .keep = true};
    bench.row(name, "mixed, kept", 0, bytes(4), [&](Pieces& pieces) {
      if (!pieces.counting()) mixed_norm(mixed, bench.stream());
    });
    const ScaledSum blend{.count = rows * c, .a = x, .b = other, .a_scale = 0.5f, .b_scale = 0.5f, .y = x};
    bench.row(fmt::format("norm: blend of {}×{}", rows, c), "", 0, bytes(3), [&](Pieces& pieces) {
      if (!pieces.counting()) scaled_sum(blend, bench.stream());
    });
    bench.release();
  }
}

}  // namespace
}  // namespace eg4d::bench

int main(int argc, char** argv) {
  using namespace eg4d::bench;
  const int repeats = argc > 1 ? std::max(std::atoi(argv[1]), 1) : 7;
  fmt::print("{}, {}\n\n", gpu_name(), eg4d::cuda::describe_libraries());
  Bench bench(repeats, argc > 2 ? argv[2] : "");
  products(bench);
  feed_forwards(bench);
  norms(bench);
  convolutions(bench);
}
