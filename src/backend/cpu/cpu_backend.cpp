#include <fmt/format.h>

#include <cstdlib>
#include <cstring>

#include "backend/backend.h"
#include "backend/cpu/memory.h"
#include "backend/cpu/neural.h"
#include "backend/cpu/splat_kernels.h"
#include "core/error.h"
#include "core/threads.h"

namespace eg4d {
namespace {

using cpu::Memory;
using cpu::MemoryAccess;

class CpuSplatOps final : public SplatOps {
 public:
  explicit CpuSplatOps(Memory& memory) : memory_(memory) {}

  std::unique_ptr<RasterizeContext> create_rasterize_context() override {
    return cpu::create_rasterize_context(memory_);
  }
  void rasterize_forward(const RasterizeForward& a, Stream) override { run(cpu::rasterize_forward, a); }
  void rasterize_backward(const RasterizeBackward& a, Stream) override { run(cpu::rasterize_backward, a); }
  void sh_color_forward(const ShColor& a, Stream) override { run(cpu::sh_color_forward, a); }
  void sh_color_backward(const ShColor& a, Stream) override { run(cpu::sh_color_backward, a); }
  void hexplane_forward(const HexPlane& a, Stream) override { run(cpu::hexplane_forward, a); }
  void hexplane_backward(const HexPlane& a, Stream) override { run(cpu::hexplane_backward, a); }
  void deformation_network_forward(const DeformationNetwork& a, Stream) override {
    run(cpu::deformation_network_forward, a);
  }
  void deformation_network_backward(const DeformationNetwork& a, Stream) override {
    run(cpu::deformation_network_backward, a);
  }
  void gaussian_activation_forward(const GaussianActivation& a, Stream) override {
    run(cpu::gaussian_activation_forward, a);
  }
  void gaussian_activation_backward(const GaussianActivationBackward& a, Stream) override {
    run(cpu::gaussian_activation_backward, a);
  }
  void image_loss(const ImageLoss& a, Stream) override { run(cpu::image_loss, a); }
  void resize_picture(const ResizePicture& a, Stream) override { run(cpu::resize_picture, a); }
  void adam(const Adam& a, Stream) override { run(cpu::adam, a); }
  void hexplane_adam(const HexPlaneAdam& a, Stream) override { run(cpu::hexplane_adam, a); }
  void hexplane_regularization(const HexPlaneRegularization& a, Stream) override {
    run(cpu::hexplane_regularization, a);
  }
  void density_statistics(const DensityStatistics& a, Stream) override { run(cpu::density_statistics, a); }
  void clamp_unit(float* values, int64_t count, Stream) override {
    MemoryAccess access(memory_);
    cpu::clamp_unit(values, count);
  }
  void clamp_unit_backward(const float* values, float* gradients, int64_t count, Stream) override {
    MemoryAccess access(memory_);
    cpu::clamp_unit_backward(values, gradients, count);
  }
  void move_towards(float* to, const float* from, float weight, int64_t count, Stream) override {
    MemoryAccess access(memory_);
    cpu::move_towards(to, from, weight, count);
  }
  void gather_rows(void* to, const void* from, const int32_t* index, int64_t count, int64_t row_bytes,
                   Stream) override {
    MemoryAccess access(memory_);
    cpu::gather_rows(to, from, index, count, row_bytes);
  }

 private:
  template <class Kernel, class Arguments>
  void run(Kernel kernel, const Arguments& arguments) {
    MemoryAccess access(memory_);
    kernel(arguments);
  }
  Memory& memory_;
};

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(bool guard)
      : memory_(guard), splat_(memory_), neural_(cpu::make_neural_ops(memory_)), guarded_(guard) {}

  std::string name() const override {
    return fmt::format("cpu ({} thread{}{})", thread_count(), thread_count() == 1 ? "" : "s",
                       guarded_ ? ", guarded memory" : "");
  }
  void* allocate(size_t bytes) override { return memory_.allocate(bytes); }
  void release(void* memory) override { memory_.release(memory); }
  size_t allocated_bytes() const override { return memory_.allocated(); }
  size_t peak_allocated_bytes() const override { return memory_.peak(); }

  // Everything runs to its end at once, so streams are only names.
  Stream create_stream() override { return Stream{++streams_}; }
  void destroy_stream(Stream) override {}
  void synchronize(Stream) override {}
  void wait(Stream, Stream) override {}

  void copy_to_device(void* device, const void* host, size_t bytes, Stream) override {
    MemoryAccess access(memory_);
    std::memcpy(device, host, bytes);
  }
  void copy_to_host(void* host, const void* device, size_t bytes, Stream) override {
    MemoryAccess access(memory_);
    std::memcpy(host, device, bytes);
  }
  void copy_on_device(void* to, const void* from, size_t bytes, Stream) override {
    MemoryAccess access(memory_);
    std::memmove(to, from, bytes);
  }
  void fill_bytes(void* device, uint8_t value, size_t bytes, Stream) override {
    MemoryAccess access(memory_);
    parallel_for(static_cast<int64_t>(bytes), int64_t{1} << 20, [&](int64_t begin, int64_t end) {
      std::memset(static_cast<char*>(device) + begin, value, static_cast<size_t>(end - begin));
    });
  }

  SplatOps& splat() override { return splat_; }
  NeuralOps& neural() override { return *neural_; }

 private:
  Memory memory_;
  CpuSplatOps splat_;
  std::unique_ptr<NeuralOps> neural_;
  bool guarded_;
  uint64_t streams_ = 0;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const CpuBackendOptions& options) {
  const char* environment = std::getenv("EG4D_GUARD_MEMORY");
  const bool guard = options.guard_memory || (environment && std::strcmp(environment, "1") == 0);
  return std::make_unique<CpuBackend>(guard);
}

std::unique_ptr<Backend> make_backend(const std::string& device) {
  if (device == "auto" || device == "cpu") return make_cpu_backend();
  if (device == "cuda" || device.starts_with("cuda:"))
    throw Error(fmt::format("device '{}' is not available: this build has no CUDA backend; use --device cpu",
                            device));
  throw UsageError(fmt::format("unknown device '{}': use auto, cpu or cuda[:N]", device));
}

}  // namespace eg4d
