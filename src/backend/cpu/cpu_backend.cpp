#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/memory.h"
#include "backend/cpu/neural_kernels.h"
#include "backend/cpu/onednn.h"
#include "backend/cpu/rounded.h"
#include "backend/cpu/sampling_kernels.h"
#include "backend/cpu/scratch.h"
#include "backend/cpu/splat_kernels.h"
#include "backend/cpu/testing.h"
#include "core/error.h"
#include "core/threads.h"

namespace eg4d {
namespace {

using cpu::Memory;
using cpu::MemoryAccess;

// Which kernel does an operation.
class CpuKernels {
 public:
  CpuKernels(Memory& memory, bool emulate_half) : onednn(memory, emulate_half), scratch_(memory) {}

  // Networks: oneDNN for products and convolutions.
  void operator()(const Linear& a) { onednn.linear(a); }
  void operator()(const LinearBackward& a) { onednn.linear_backward(a); }
  void operator()(const Convolution& a) { onednn.convolution(a); }
  void operator()(const ConvolutionBackward& a) { onednn.convolution_backward(a); }
  void operator()(const GroupNorm& a) { cpu::group_norm(a); }
  void operator()(const GroupNormBackward& a) { cpu::group_norm_backward(a); }
  void operator()(const LayerNorm& a) { cpu::layer_norm(a); }
  void operator()(const Attention& a) { cpu::attention(a, scratch_); }
  void operator()(const AttentionBackward& a) { cpu::attention_backward(a, scratch_); }
  void operator()(const Geglu& a) { cpu::geglu(a); }
  void operator()(const FeedForward& a) { cpu::feed_forward(a, onednn, scratch_); }
  void operator()(const MixedNorm& a) { cpu::mixed_norm(a, scratch_); }
  void operator()(const ScaledSum& a) { cpu::scaled_sum(a); }
  void operator()(const Convert& a) { cpu::convert(a); }
  void operator()(const Activate& a) { cpu::activate(a); }
  void operator()(const Upsample& a) { cpu::upsample(a); }
  void operator()(const ResizeFeatures& a) { cpu::resize_features(a); }
  void operator()(const MaxPool& a) { cpu::max_pool(a); }
  void operator()(const MaxPoolBackward& a) { cpu::max_pool_backward(a); }
  void operator()(const ScaleChannels& a) { cpu::scale_channels(a); }
  void operator()(const ScaleChannelsBackward& a) { cpu::scale_channels_backward(a); }
  void operator()(const FeatureDistance& a) { cpu::feature_distance(a); }
  void operator()(const FeatureDistanceBackward& a) { cpu::feature_distance_backward(a); }
  void operator()(const Patches& a) { cpu::patches(a); }
  void operator()(const CopyRows& a) { cpu::copy_rows(a); }

  // Sampling.
  void operator()(const NetworkInput& a) { cpu::network_input(a); }
  void operator()(const TimestepSinusoids& a) { cpu::timestep_sinusoids(a); }
  void operator()(const EulerStep& a) { cpu::euler_step(a); }
  void operator()(const NoisyLatents& a) { cpu::noisy_latents(a); }
  void operator()(const SampleMoments& a) { cpu::sample_moments(a); }
  void operator()(const FitPicture& a) { cpu::fit_picture(a); }
  void operator()(const FitPictureBackward& a) { cpu::fit_picture_backward(a); }

  // Gaussians.
  void operator()(const NextInputs& a) { cpu::next_inputs(a); }
  void operator()(const RasterizeForward& a) { cpu::rasterize_forward(a); }
  void operator()(const RasterizeBackward& a) { cpu::rasterize_backward(a); }
  void operator()(const ShColor& a) { cpu::sh_color_forward(a); }
  void operator()(const ShColorBackward& a) { cpu::sh_color_backward(a); }
  void operator()(const HexPlane& a) { cpu::hexplane_forward(a); }
  void operator()(const HexPlaneBackward& a) { cpu::hexplane_backward(a); }
  void operator()(const DeformationNetwork& a) { cpu::deformation_network_forward(a); }
  void operator()(const DeformationNetworkBackward& a) { cpu::deformation_network_backward(a); }
  void operator()(const GaussianActivation& a) { cpu::gaussian_activation_forward(a); }
  void operator()(const GaussianActivationBackward& a) { cpu::gaussian_activation_backward(a); }
  void operator()(const ImageLoss& a) { cpu::image_loss(a); }
  void operator()(const ResizePicture& a) { cpu::resize_picture(a); }
  void operator()(const Adam& a) { cpu::adam(a); }
  void operator()(const HexPlaneAdam& a) { cpu::hexplane_adam(a); }
  void operator()(const DensityStatistics& a) { cpu::density_statistics(a); }
  void operator()(const DecideDensity& a) { cpu::decide_density(a); }
  void operator()(const DensityRows& a) { cpu::density_rows(a); }
  void operator()(const SplitNoise& a) { cpu::split_noise(a); }
  void operator()(const SplitGaussians& a) { cpu::split_gaussians(a); }
  void operator()(const ClampAbove& a) { cpu::clamp_above(a); }
  void operator()(const ClampUnit& a) { cpu::clamp_unit(a); }
  void operator()(const ClampUnitBackward& a) { cpu::clamp_unit_backward(a); }
  void operator()(const UnitToBytes& a) { cpu::unit_to_bytes(a); }
  void operator()(const MoveTowards& a) { cpu::move_towards(a); }
  void operator()(const GatherRows& a) { cpu::gather_rows(a); }

  void operator()(const CopyBytes& a) { std::memmove(a.to, a.from, a.bytes); }
  void operator()(const FillBytes& a) {
    parallel_for(static_cast<int64_t>(a.bytes), int64_t{1} << 17, [&](int64_t begin, int64_t end) {
      std::memset(static_cast<char*>(a.to) + begin, a.value, static_cast<size_t>(end - begin));
    });
  }

  cpu::OneDnn onednn;

 private:
  cpu::Scratch scratch_;
};

class CpuRecording final : public Recording {
 public:
  std::vector<Operation> operations;
};

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const CpuBackendOptions& options)
      : options_(options), memory_(options.guard_memory), kernels_(memory_, options.emulate_half) {}

  std::string name() const override {
    return fmt::format("cpu ({} thread{}{})", thread_count(), thread_count() == 1 ? "" : "s",
                       options_.guard_memory ? ", guarded memory" : "");
  }
  void* allocate(size_t bytes) override {
    refuse_while_recording("allocate memory");
    return memory_.allocate(bytes);
  }
  void release(void* memory) override { memory_.release(memory); }
  size_t allocated_bytes() const override { return memory_.allocated(); }
  size_t peak_allocated_bytes() const { return memory_.peak(); }  // for tests (testing.h)
  bool computes_in(DType type) const override { return type == DType::f32 || options_.emulate_half; }

  void copy_to_device(void* device, const void* host, size_t bytes) override {
    refuse_while_recording("copy from the host");
    MemoryAccess access(memory_);
    std::memcpy(device, host, bytes);
  }
  void copy_to_host(void* host, const void* device, size_t bytes) override {
    refuse_while_recording("copy to the host");
    MemoryAccess access(memory_);
    std::memcpy(host, device, bytes);
  }

  std::shared_ptr<const PackedWeight> pack_linear(const LinearWeight& a) override {
    MemoryAccess access(memory_);
    return kernels_.onednn.pack_linear(a);
  }
  std::shared_ptr<const PackedWeight> pack_convolution(const ConvolutionWeight& a) override {
    MemoryAccess access(memory_);
    return kernels_.onednn.pack_convolution(a);
  }
  std::unique_ptr<RasterizeContext> create_rasterize_context() override {
    return cpu::create_rasterize_context(memory_);
  }
  std::unique_ptr<FieldContext> create_field_context(const FieldDescription& of) override {
    return cpu::create_field_context(memory_, of);
  }

  void run(const Operation& operation) override {
    if (recording_) {
      recording_->operations.push_back(operation);
      return;
    }
    MemoryAccess access(memory_);
    if (cpu::takes_only_f32(operation)) {
      std::visit(kernels_, operation);
      return;
    }
    if (!options_.emulate_half)
      throw Error(fmt::format("the processor computes {} in f32 only; --precision f16 is for GPUs",
                              name_of(operation)));
    cpu::run_rounded(operation, memory_, [&](const Operation& wide) { std::visit(kernels_, wide); });
  }

  std::unique_ptr<Recording> record(const std::function<void()>& work) override {
    refuse_while_recording("record");
    auto recording = std::make_unique<CpuRecording>();
    const StopRecording stop(recording_);
    recording_ = recording.get();
    work();
    return recording;
  }
  void replay(const Recording& recording) override {
    for (const Operation& operation : static_cast<const CpuRecording&>(recording).operations) run(operation);
  }

 private:
  class StopRecording {
   public:
    explicit StopRecording(CpuRecording*& recording) : recording_(recording) {}
    ~StopRecording() { recording_ = nullptr; }
    StopRecording(const StopRecording&) = delete;
    StopRecording& operator=(const StopRecording&) = delete;

   private:
    CpuRecording*& recording_;
  };

  void refuse_while_recording(const char* what) const {
    if (recording_) throw std::logic_error(fmt::format("a recording cannot {}", what));
  }

  const CpuBackendOptions options_;
  Memory memory_;
  CpuKernels kernels_;
  CpuRecording* recording_ = nullptr;  // of record(), while it runs
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const CpuBackendOptions& options) {
  CpuBackendOptions chosen = options;
  const char* environment = std::getenv("EG4D_GUARD_MEMORY");
  if (environment && std::strcmp(environment, "1") == 0) chosen.guard_memory = true;
  return std::make_unique<CpuBackend>(chosen);
}

size_t cpu::peak_allocated_bytes(const Backend& backend) {
  return dynamic_cast<const CpuBackend&>(backend).peak_allocated_bytes();
}

}  // namespace eg4d
