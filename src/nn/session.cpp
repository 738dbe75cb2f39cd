#include "nn/session.h"

namespace eg4d {
namespace {

class NothingOps final : public NeuralOps {
  std::shared_ptr<const PackedWeight> pack_linear(const LinearWeight&) override { return nullptr; }
  std::shared_ptr<const PackedWeight> pack_convolution(const ConvolutionWeight&) override { return nullptr; }
  void linear(const Linear&, Stream) override {}
  void linear_backward(const LinearBackward&, Stream) override {}
  void convolution(const Convolution&, Stream) override {}
  void convolution_backward(const ConvolutionBackward&, Stream) override {}
  void group_norm(const GroupNorm&, Stream) override {}
  void group_norm_backward(const GroupNormBackward&, Stream) override {}
  void layer_norm(const LayerNorm&, Stream) override {}
  void attention(const Attention&, Stream) override {}
  void attention_backward(const AttentionBackward&, Stream) override {}
  void geglu(const Geglu&, Stream) override {}
  void scaled_sum(const ScaledSum&, Stream) override {}
  void activate(const Activate&, Stream) override {}
  void upsample(const Upsample&, Stream) override {}
  void resize_features(const ResizeFeatures&, Stream) override {}
  void max_pool(const MaxPool&, Stream) override {}
  void max_pool_backward(const MaxPoolBackward&, Stream) override {}
  void scale_channels(const ScaleChannels&, Stream) override {}
  void scale_channels_backward(const ScaleChannelsBackward&, Stream) override {}
  void feature_distance(const FeatureDistance&, Stream) override {}
  void feature_distance_backward(const FeatureDistanceBackward&, Stream) override {}
  void patches(const Patches&, Stream) override {}
  void copy_rows(const CopyRows&, Stream) override {}
};

}  // namespace

Tensor Session::zeros(Shape shape, DType type) {
  Tensor tensor = arena_.empty(std::move(shape), type);
  if (!planning_) backend().fill_bytes(tensor.raw(), 0, tensor.bytes());
  return tensor;
}

NeuralOps& Session::nothing() {
  static NothingOps operations;
  return operations;
}

}  // namespace eg4d
