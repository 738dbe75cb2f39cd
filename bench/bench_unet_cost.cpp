// What one evaluation of the full-size video UNet costs, without computing it: operations, FLOP and bytes by
// kind, and the memory that it takes. In a second.
//
//   bench_unet_cost [frames = 21] [latent size = 72] [f32 | f16]

#include <fmt/format.h>

#include <cstdlib>
#include <map>

#include "backend/operation_cost.h"
#include "diffusion/video_unet.h"
#include "support/manifest.h"
#include "support/temporary_folder.h"

namespace eg4d::bench {
namespace {

// Memory is addresses without anything behind them, weights are their sizes, operations are counted.
class CountingDevice final : public Backend {
 public:
  struct Total {
    int64_t calls = 0;
    double flop = 0, bytes = 0;
  };
  std::map<std::string, Total> totals;

  std::string name() const override { return "counting"; }
  void* allocate(size_t bytes) override {
    allocated_ += bytes;
    void* address = reinterpret_cast<void*>(next_);
    next_ += (bytes + 63) / 64 * 64;
    sizes_[address] = bytes;
    return address;
  }
  void release(void* memory) override {
    allocated_ -= sizes_[memory];
    sizes_.erase(memory);
  }
  size_t allocated_bytes() const override { return allocated_; }
  void copy_to_device(void*, const void*, size_t) override {}
  void copy_to_host(void*, const void*, size_t) override {}
  std::shared_ptr<const PackedWeight> pack_linear(const LinearWeight& a) override {
    return std::make_shared<Weight>(PackedWeight::Extents{a.in, a.out}, a.type.weights);
  }
  std::shared_ptr<const PackedWeight> pack_convolution(const ConvolutionWeight& a) override {
    return std::make_shared<Weight>(PackedWeight::Extents{a.in, a.out, a.kernel_height, a.kernel_width},
                                    a.type.weights);
  }
  std::unique_ptr<RasterizeContext> create_rasterize_context() override { return {}; }
  std::unique_ptr<FieldContext> create_field_context(const FieldDescription&) override { return {}; }
  void run(const Operation& operation) override {
    std::string kind = name_of(operation);
    if (const auto* a = std::get_if<Attention>(&operation))
      kind += a->inner > 1 ? " over frames" : " over pixels";
    const OperationCost cost = cost_of(operation);
    Total& total = totals[kind];
    ++total.calls;
    total.flop += cost.flop;
    total.bytes += cost.bytes;
  }
  std::unique_ptr<Recording> record(const std::function<void()>& work) override {
    work();
    return std::make_unique<Recording>();
  }
  void replay(const Recording&) override {}

  static size_t weight_bytes;

 private:
  struct Weight final : PackedWeight {
    Weight(const Extents& extents, DType type)
        : PackedWeight(extents),
          size(static_cast<size_t>(extents.in * extents.out * extents.kernel_height * extents.kernel_width) *
               size_of(type)) {
      weight_bytes += size;
    }
    size_t bytes() const override { return size; }
    const size_t size;
  };

  uintptr_t next_ = 4096;
  size_t allocated_ = 0;
  std::map<void*, size_t> sizes_;
};
size_t CountingDevice::weight_bytes = 0;

void run(int64_t frames, int64_t side, DType precision) {
  const test::TemporaryFolder folder;
  test::Manifest manifest = test::read_manifest("sv3d_p");
  std::erase_if(manifest, [](const auto& item) { return !item.first.starts_with("model.diffusion_model."); });
  test::write_sparse_safetensors(folder / "weights.safetensors", manifest);

  CountingDevice device;
  const NetworkType type{precision, precision, NetworkType::Products::half};
  VideoUNet network(device, WeightMap(folder / "weights.safetensors"), "model.diffusion_model.",
                    {.type = type});
  const int64_t rows = 2 * frames;
  size_t before = device.allocated_bytes();
  const auto conditioning = network.condition(Tensor::empty(device, {rows, 1, network.context_width()}),
                                              Tensor::empty(device, {rows, network.vector_width()}), frames);
  const size_t planned = network.activation_bytes();
  const size_t conditioning_bytes = device.allocated_bytes() - before - planned;
  before = device.allocated_bytes();
  VideoUNet::Call call(network, {rows, frames, side, side}, AttentionInjection::Options{});
  device.totals.clear();
  call.run(*conditioning);
  fmt::print("2×{}×{}×{}, {}:\n  {:<24} {:>6} {:>9} {:>9}\n", frames, side, side, name_of(precision),
             "operation", "calls", "TFLOP", "GB");
  CountingDevice::Total sum;
  for (const auto& [kind, total] : device.totals) {
    fmt::print("  {:<24} {:>6} {:>9.2f} {:>9.2f}\n", kind, total.calls, total.flop * 1e-12,
               total.bytes * 1e-9);
    sum.calls += total.calls;
    sum.flop += total.flop;
    sum.bytes += total.bytes;
  }
  fmt::print("  {:<24} {:>6} {:>9.2f} {:>9.2f}\n", "all", sum.calls, sum.flop * 1e-12, sum.bytes * 1e-9);
  const double mb = 1e-6;
  fmt::print(
      "MB: weights {:.0f}, activations {:.0f}, references {:.0f}, conditioning of a video {:.1f}, input "
      "{:.2f}, "
      "prediction {:.2f}\n",
      static_cast<double>(CountingDevice::weight_bytes) * mb,
      static_cast<double>(network.activation_bytes()) * mb,
      static_cast<double>(call.injection()->bytes()) * mb, static_cast<double>(conditioning_bytes) * mb,
      static_cast<double>(call.input().bytes()) * mb, static_cast<double>(call.prediction().bytes()) * mb);
}

}  // namespace
}  // namespace eg4d::bench

int main(int argc, char** argv) {
  eg4d::bench::run(argc > 1 ? std::atoll(argv[1]) : 21, argc > 2 ? std::atoll(argv[2]) : 72,
                   argc > 3 && std::string(argv[3]) == "f32" ? eg4d::DType::f32 : eg4d::DType::f16);
}
