// Attention on the GPU, as CUDA events time graphs of it. Long sequences against what products of these types
// reach (argument 3, TFLOP/s), those over frames against the speed of a large copy. Arguments: repeats (0: a
// few runs of each, for a profiler), and which: how their names begin.

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "backend/cuda/networks/attention.h"
#include "backend/cuda/networks/attention_kernels.h"
#include "core/half.h"
#include "cuda/support/device.h"
#include "cuda_measure.h"
#include "random/random.h"

namespace eg4d::bench {
namespace {

using test::DeviceBuffer;

struct Work {
  const char* name;
  DType type;
  int64_t outer, inner, heads, head_dim, queries, keys;
};

// Random operands as the networks lay them out: queries by themselves, keys and values side by side; over
// frames a token is a picture further.
class Operands {
 public:
  explicit Operands(const Work& w) : work_(w) {
    const int64_t width = w.heads * w.head_dim, sequences = w.outer * w.inner;
    q_ = numbers(sequences * w.queries * width);
    kv_ = numbers(2 * sequences * w.keys * width);
    y_ = DeviceBuffer<uint8_t>(q_.count());
  }
  Attention attention() const {
    const Work& w = work_;
    const int64_t width = w.heads * w.head_dim;
    const bool frames = w.inner > 1;
    Attention a;
    a.outer = w.outer;
    a.inner = w.inner;
    a.heads = w.heads;
    a.head_dim = w.head_dim;
    a.queries = w.queries;
    a.keys = w.keys;
    a.q = {ConstArray(q_.data(), w.type), w.queries * w.inner * width, width,
           frames ? w.inner * width : width};
    a.k = {ConstArray(kv_.data(), w.type), 2 * w.keys * w.inner * width, 2 * width,
           frames ? 2 * w.inner * width : 2 * width};
    a.v = a.k;
    a.v.data = a.v.data.at(width);
    a.y = {y_.data(), w.type};
    a.y_outer_stride = a.q.outer_stride;
    a.y_inner_stride = a.q.inner_stride;
    a.y_token_stride = a.q.token_stride;
    return a;
  }

 private:
  // As many bytes as the type asks for; a short random pattern again and again.
  DeviceBuffer<uint8_t> numbers(int64_t count) {
    constexpr int64_t kPattern = 1 << 20;
    Philox random(++seed_);
    const size_t size = size_of(work_.type);
    std::vector<uint8_t> bytes(static_cast<size_t>(kPattern) * size);
    for (size_t i = 0; i < bytes.size(); i += size) {
      const float value = random.normal();
      const uint16_t half = work_.type == DType::f16 ? float_to_half(value) : float_to_bfloat16(value);
      std::memcpy(&bytes[i], size == 2 ? static_cast<const void*>(&half) : &value, size);
    }
    DeviceBuffer<uint8_t> buffer(count * static_cast<int64_t>(size));
    for (int64_t at = 0; at < buffer.count(); at += static_cast<int64_t>(bytes.size()))
      cuda::check(cudaMemcpy(buffer.data() + at, bytes.data(),
                             std::min(bytes.size(), buffer.bytes() - static_cast<size_t>(at)),
                             cudaMemcpyHostToDevice),
                  "copying to a GPU");
    return buffer;
  }

  Work work_;
  uint64_t seed_ = 0;
  DeviceBuffer<uint8_t> q_, kv_, y_;
};

constexpr Work kWorks[] = {
    {"SV3D pixels 72², f16", DType::f16, 42, 1, 5, 64, 5184, 5184},
    {"SV3D pixels 72², bf16", DType::bf16, 42, 1, 5, 64, 5184, 5184},
    {"SV3D pixels 36², f16", DType::f16, 42, 1, 10, 64, 1296, 1296},
    {"SV3D pixels 18², f16", DType::f16, 42, 1, 20, 64, 324, 324},
    {"SV3D pixels 9², f16", DType::f16, 42, 1, 20, 64, 81, 81},
    {"SVD pixels 72², f16", DType::f16, 50, 1, 5, 64, 5184, 5184},
    {"SVD pixels 72×128, f16", DType::f16, 50, 1, 5, 64, 9216, 9216},
    {"SV3D frames 72², f16", DType::f16, 2, 5184, 5, 64, 21, 21},
    {"SV3D frames 36², f16", DType::f16, 2, 1296, 10, 64, 21, 21},
    {"SV3D frames 18², f16", DType::f16, 2, 324, 20, 64, 21, 21},
    {"SVD frames 72², f16", DType::f16, 2, 5184, 5, 64, 25, 25},
    {"SVD frames 72², bf16", DType::bf16, 2, 5184, 5, 64, 25, 25},
    {"SDXL pixels 36², f16", DType::f16, 1, 1, 10, 64, 1296, 1296},
    {"SDXL pixels 18², f16", DType::f16, 1, 1, 20, 64, 324, 324},
    {"SDXL text 36², f16", DType::f16, 1, 1, 10, 64, 1296, 77},
    {"SDXL text 18², f16", DType::f16, 1, 1, 20, 64, 324, 77},
    {"VAE 72² ×21, f16", DType::f16, 21, 1, 1, 512, 5184, 5184},
    {"VAE 72² ×1, bf16", DType::bf16, 1, 1, 1, 512, 5184, 5184},
    {"heads of 128, f16", DType::f16, 42, 1, 5, 128, 2592, 2592},
    {"heads of 40, f16", DType::f16, 42, 1, 8, 40, 2592, 2592},
    {"CLIP 257 of 80, f16", DType::f16, 42, 1, 16, 80, 257, 257},
    {"pixels 36², f32", DType::f32, 42, 1, 10, 64, 1296, 1296},
    {"frames 36², f32", DType::f32, 2, 1296, 10, 64, 21, 21},
};

}  // namespace

int run(int repeats, const std::string& only, double ceiling) {
  if (const std::string missing = test::missing_gpu(); !missing.empty()) {
    fmt::print("{}; nothing was measured.\n", missing);
    return 0;
  }
  Timer timer(repeats);
  const double speed = repeats > 0 ? copy_bytes_per_second(timer) : 1;
  fmt::print("{}, copies at {:.2f} TB/s, products at {:.0f} TFLOP/s, medians of {} graphs\n\n", gpu_name(),
             speed / 1e12, ceiling, repeats);
  const Table table({"attention", "ms", "TFLOP/s", "TB/s", "of the ceiling"});
  for (const Work& w : kWorks) {
    if (!std::string(w.name).starts_with(only)) continue;
    const Operands operands(w);
    const Attention a = operands.attention();
    const DeviceBuffer<uint8_t> workspace(static_cast<int64_t>(cuda::attention_workspace_bytes(a)));
    const double sequences = static_cast<double>(w.outer * w.inner * w.heads * w.head_dim),
                 flops = 4 * sequences * static_cast<double>(w.queries * w.keys),
                 bytes = 2 * sequences *
                         static_cast<double>((w.queries + w.keys) * static_cast<int64_t>(size_of(w.type)));
    const auto measure = [&](const std::string& name, const std::function<void(cudaStream_t)>& enqueue) {
      const double seconds = timer.median_as_graph(enqueue) * 1e-3;
      const double share = std::max(flops / seconds / (ceiling * 1e12), bytes / seconds / speed);
      table.row({name, number(seconds * 1e3), fmt::format("{:.0f}", flops / seconds * 1e-12),
                 fmt::format("{:.2f}", bytes / seconds * 1e-12), fmt::format("{:.0f} %", 100 * share)});
    };
    measure(w.name, [&](cudaStream_t stream) { cuda::attention(a, workspace.data(), stream); });
    // What other GPUs do.
    if (w.type == DType::f16 && w.keys > 32 && w.head_dim <= 64)
      measure(fmt::format("{}, by mma", w.name),
              [&](cudaStream_t stream) { cuda::attention_mma(a, stream); });
  }
  return 0;
}

}  // namespace eg4d::bench

int main(int argc, char** argv) {
  try {
    return eg4d::bench::run(argc > 1 ? std::atoi(argv[1]) : 30, argc > 2 ? argv[2] : "",
                            argc > 3 ? std::atof(argv[3]) : 736);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
