#include "backend/cuda/networks/network_runner.h"

#include <fmt/format.h>

#include <concepts>
#include <stdexcept>

#include "backend/backend.h"
#include "backend/cuda/networks/attentions.h"
#include "backend/cuda/networks/convolutions.h"
#include "backend/cuda/networks/layers.h"
#include "backend/cuda/networks/network_kernels.h"

namespace eg4d::cuda {
namespace {

void require_whole_groups(const GroupNorm& a) {
  if (a.groups < 1 || a.channels % a.groups != 0)
    throw Error(fmt::format("group norm: {} channels do not divide into {} groups", a.channels, a.groups));
}

}  // namespace

struct NetworkRunner::Parts {
  Parts(Memory& m, cudaStream_t s)
      : memory(m),
        stream(s),
        weights(m, s),
        layers(m, s, choices),
        convolutions(m, s, layers, choices),
        attentions(s, layers) {}

  Memory& memory;
  cudaStream_t stream;
  WeightStore weights;
  Choices choices;
  Layers layers;
  Convolutions convolutions;
  Attentions attentions;
};

namespace {

// Takes its pieces of scratch memory and, if there is any, enqueues the work.
struct Perform {
  Layers& layers;
  Convolutions& convolutions;
  Attentions& attentions;
  Pieces& pieces;
  cudaStream_t stream;

  void operator()(const Linear& a) const { layers.run(a, pieces); }
  void operator()(const LinearBackward& a) const { layers.run(a, pieces); }
  void operator()(const FeedForward& a) const { layers.run(a, pieces); }
  void operator()(const Convolution& a) const { convolutions.run(a, pieces); }
  void operator()(const ConvolutionBackward& a) const { convolutions.run(a, pieces); }
  void operator()(const Attention& a) const { attentions.run(a, pieces); }
  void operator()(const AttentionBackward& a) const { attentions.run(a, pieces); }
  void operator()(const GroupNorm& a) const {
    require_whole_groups(a);
    void* const workspace = pieces.take(group_norm_workspace_bytes(a));
    if (!pieces.counting()) group_norm(a, workspace, stream);
  }
  void operator()(const GroupNormBackward& a) const {
    require_whole_groups(a.forward);
    void* const workspace = pieces.take(group_norm_backward_workspace_bytes(a));
    if (!pieces.counting()) group_norm_backward(a, workspace, stream);
  }
  void operator()(const LayerNorm& a) const { enqueue(layer_norm, a); }
  void operator()(const MixedNorm& a) const { enqueue(mixed_norm, a); }
  void operator()(const Geglu& a) const { enqueue(geglu, a); }
  void operator()(const ScaledSum& a) const { enqueue(scaled_sum, a); }
  void operator()(const Convert& a) const { enqueue(convert, a); }
  void operator()(const Activate& a) const { enqueue(activate, a); }
  void operator()(const Upsample& a) const { enqueue(upsample, a); }
  void operator()(const ResizeFeatures& a) const { enqueue(resize_features, a); }
  void operator()(const MaxPool& a) const { enqueue(max_pool, a); }
  void operator()(const MaxPoolBackward& a) const { enqueue(max_pool_backward, a); }
  void operator()(const ScaleChannels& a) const { enqueue(scale_channels, a); }
  void operator()(const ScaleChannelsBackward& a) const { enqueue(scale_channels_backward, a); }
  void operator()(const FeatureDistance& a) const {
    void* const workspace = pieces.take(feature_distance_workspace_bytes(a));
    if (!pieces.counting()) feature_distance(a, workspace, stream);
  }
  void operator()(const FeatureDistanceBackward& a) const { enqueue(feature_distance_backward, a); }
  void operator()(const Patches& a) const { enqueue(patches, a); }
  void operator()(const CopyRows& a) const { enqueue(copy_rows, a); }
  void operator()(const NetworkInput& a) const { enqueue(network_input, a); }
  void operator()(const TimestepSinusoids& a) const { enqueue(timestep_sinusoids, a); }
  void operator()(const EulerStep& a) const { enqueue(euler_step, a); }
  void operator()(const NoisyLatents& a) const { enqueue(noisy_latents, a); }
  void operator()(const SampleMoments& a) const { enqueue(sample_moments, a); }
  void operator()(const FitPicture& a) const { enqueue(fit_picture, a); }
  void operator()(const FitPictureBackward& a) const { enqueue(fit_picture_backward, a); }

 private:
  template <class Type>
  void enqueue(void (*kernel)(const Type&, cudaStream_t), const Type& a) const {
    if (!pieces.counting()) kernel(a, stream);
  }
};

// A scratch of no bytes is no memory; it must not look like counting.
alignas(256) char nothing[256];

}  // namespace

NetworkRunner::NetworkRunner(Memory& memory, cudaStream_t stream)
    : parts_(std::make_unique<Parts>(memory, stream)) {}
NetworkRunner::~NetworkRunner() = default;

bool NetworkRunner::has(const Operation& operation) {
  return std::visit([]<class Type>(const Type&) { return std::invocable<const Perform&, const Type&>; },
                    operation);
}

size_t NetworkRunner::prepare(const Operation& operation) {
  Pieces pieces;
  const Perform perform{parts_->layers, parts_->convolutions, parts_->attentions, pieces, parts_->stream};
  std::visit(
      [&]<class Type>(const Type& a) {
        if constexpr (std::invocable<const Perform&, const Type&>) perform(a);
      },
      operation);
  return pieces.used();
}

void NetworkRunner::enqueue(const Operation& operation, void* scratch) {
  parts_->choices.save();  // before anything is done by what was measured
  Pieces pieces(scratch ? scratch : nothing);
  const Perform perform{parts_->layers, parts_->convolutions, parts_->attentions, pieces, parts_->stream};
  parts_->weights.before(operation);
  std::visit(
      [&]<class Type>(const Type& a) {
        if constexpr (std::invocable<const Perform&, const Type&>) perform(a);
      },
      operation);
  parts_->weights.after(operation);
}

std::shared_ptr<const PackedWeight> NetworkRunner::pack(const LinearWeight& weight) {
  cublaslt();  // throws where it is missing
  return std::make_shared<NetworkWeight>(parts_->memory, parts_->weights, parts_->stream, weight);
}
std::shared_ptr<const PackedWeight> NetworkRunner::pack(const ConvolutionWeight& weight) {
  cublaslt();
  return std::make_shared<NetworkWeight>(parts_->memory, parts_->weights, parts_->stream, weight);
}

WeightStore& NetworkRunner::weights() {
  return parts_->weights;
}
const WeightStore& NetworkRunner::weights() const {
  return parts_->weights;
}

bool NetworkRunner::libraries_are_there() {
  try {
    cublaslt();
    return true;
  } catch (const NotOnThisDevice&) {
    return false;
  }
}

}  // namespace eg4d::cuda
