#include "backend/cpu/neural.h"

#include "backend/cpu/neural_kernels.h"
#include "backend/cpu/onednn.h"
#include "backend/cpu/scratch.h"

namespace eg4d::cpu {
namespace {

class CpuNeuralOps final : public NeuralOps {
 public:
  explicit CpuNeuralOps(Memory& memory) : memory_(memory), onednn_(memory), scratch_(memory) {}

  std::shared_ptr<const PackedWeight> pack_linear(const LinearWeight& a) override {
    MemoryAccess access(memory_);
    return onednn_.pack_linear(a);
  }
  std::shared_ptr<const PackedWeight> pack_convolution(const ConvolutionWeight& a) override {
    MemoryAccess access(memory_);
    return onednn_.pack_convolution(a);
  }

  void linear(const Linear& a, Stream) override {
    MemoryAccess access(memory_);
    onednn_.linear(a);
  }
  void linear_backward(const LinearBackward& a, Stream) override {
    MemoryAccess access(memory_);
    onednn_.linear_backward(a);
  }
  void convolution(const Convolution& a, Stream) override {
    MemoryAccess access(memory_);
    onednn_.convolution(a);
  }
  void convolution_backward(const ConvolutionBackward& a, Stream) override {
    MemoryAccess access(memory_);
    onednn_.convolution_backward(a);
  }
  void attention(const Attention& a, Stream) override {
    MemoryAccess access(memory_);
    cpu::attention(a, scratch_);
  }
  void attention_backward(const AttentionBackward& a, Stream) override {
    MemoryAccess access(memory_);
    cpu::attention_backward(a, scratch_);
  }
  void group_norm(const GroupNorm& a, Stream) override { run(cpu::group_norm, a); }
  void group_norm_backward(const GroupNormBackward& a, Stream) override { run(cpu::group_norm_backward, a); }
  void layer_norm(const LayerNorm& a, Stream) override { run(cpu::layer_norm, a); }
  void geglu(const Geglu& a, Stream) override { run(cpu::geglu, a); }
  void scaled_sum(const ScaledSum& a, Stream) override { run(cpu::scaled_sum, a); }
  void activate(const Activate& a, Stream) override { run(cpu::activate, a); }
  void upsample(const Upsample& a, Stream) override { run(cpu::upsample, a); }
  void resize_features(const ResizeFeatures& a, Stream) override { run(cpu::resize_features, a); }
  void max_pool(const MaxPool& a, Stream) override { run(cpu::max_pool, a); }
  void max_pool_backward(const MaxPoolBackward& a, Stream) override { run(cpu::max_pool_backward, a); }
  void scale_channels(const ScaleChannels& a, Stream) override { run(cpu::scale_channels, a); }
  void scale_channels_backward(const ScaleChannelsBackward& a, Stream) override {
    run(cpu::scale_channels_backward, a);
  }
  void feature_distance(const FeatureDistance& a, Stream) override { run(cpu::feature_distance, a); }
  void feature_distance_backward(const FeatureDistanceBackward& a, Stream) override {
    run(cpu::feature_distance_backward, a);
  }
  void patches(const Patches& a, Stream) override { run(cpu::patches, a); }
  void copy_rows(const CopyRows& a, Stream) override { run(cpu::copy_rows, a); }

 private:
  template <class Kernel, class Arguments>
  void run(Kernel kernel, const Arguments& arguments) {
    MemoryAccess access(memory_);
    kernel(arguments);
  }

  Memory& memory_;
  OneDnn onednn_;
  Scratch scratch_;
};

}  // namespace

std::unique_ptr<NeuralOps> make_neural_ops(Memory& memory) {
  return std::make_unique<CpuNeuralOps>(memory);
}

}  // namespace eg4d::cpu
