#pragma once

#include <map>
#include <string>
#include <unordered_map>

#include "forwarding_backend.h"
#include "measure.h"

namespace eg4d::bench {

// Adds up the time of every kind of network operation, and the floating-point operations of convolutions.
class TimedOps final : public NeuralOps {
 public:
  explicit TimedOps(NeuralOps& inner) : inner_(inner) {}
  struct Total {
    int calls = 0;
    double seconds = 0, flop = 0;
  };
  std::map<std::string, Total> totals;

  std::shared_ptr<const PackedWeight> pack_linear(const LinearWeight& a) override {
    return inner_.pack_linear(a);
  }
  std::shared_ptr<const PackedWeight> pack_convolution(const ConvolutionWeight& a) override {
    auto packed = inner_.pack_convolution(a);
    kernels_[packed.get()] = {a.in, a.out, a.kernel_height, a.kernel_width, nullptr, nullptr, a.precision};
    return packed;
  }
  void linear(const Linear& a, Stream s) override {
    time("linear", [&] { inner_.linear(a, s); });
  }
  void linear_backward(const LinearBackward& a, Stream s) override {
    time("linear backward", [&] { inner_.linear_backward(a, s); });
  }
  void convolution(const Convolution& a, Stream s) override {
    time("convolution", [&] { inner_.convolution(a, s); }).flop += flop(a);
  }
  void convolution_backward(const ConvolutionBackward& a, Stream s) override {
    time("convolution backward", [&] { inner_.convolution_backward(a, s); }).flop += flop(a.forward);
  }
  void group_norm(const GroupNorm& a, Stream s) override {
    time("group norm", [&] { inner_.group_norm(a, s); });
  }
  void group_norm_backward(const GroupNormBackward& a, Stream s) override {
    time("group norm backward", [&] { inner_.group_norm_backward(a, s); });
  }
  void layer_norm(const LayerNorm& a, Stream s) override {
    time("layer norm", [&] { inner_.layer_norm(a, s); });
  }
  void attention(const Attention& a, Stream s) override {
    time(a.inner > 1 ? "attention over frames" : "attention over pixels", [&] { inner_.attention(a, s); });
  }
  void attention_backward(const AttentionBackward& a, Stream s) override {
    time("attention backward", [&] { inner_.attention_backward(a, s); });
  }
  void geglu(const Geglu& a, Stream s) override {
    time("GEGLU", [&] { inner_.geglu(a, s); });
  }
  void scaled_sum(const ScaledSum& a, Stream s) override {
    time("blend", [&] { inner_.scaled_sum(a, s); });
  }
  void activate(const Activate& a, Stream s) override {
    time("activation", [&] { inner_.activate(a, s); });
  }
  void upsample(const Upsample& a, Stream s) override {
    time("upsample", [&] { inner_.upsample(a, s); });
  }
  void resize_features(const ResizeFeatures& a, Stream s) override {
    time("resizing", [&] { inner_.resize_features(a, s); });
  }
  void max_pool(const MaxPool& a, Stream s) override {
    time("pooling", [&] { inner_.max_pool(a, s); });
  }
  void max_pool_backward(const MaxPoolBackward& a, Stream s) override {
    time("pooling backward", [&] { inner_.max_pool_backward(a, s); });
  }
  void scale_channels(const ScaleChannels& a, Stream s) override {
    time("channel scale", [&] { inner_.scale_channels(a, s); });
  }
  void scale_channels_backward(const ScaleChannelsBackward& a, Stream s) override {
    time("channel scale", [&] { inner_.scale_channels_backward(a, s); });
  }
  void feature_distance(const FeatureDistance& a, Stream s) override {
    time("feature distance", [&] { inner_.feature_distance(a, s); });
  }
  void feature_distance_backward(const FeatureDistanceBackward& a, Stream s) override {
    time("feature distance backward", [&] { inner_.feature_distance_backward(a, s); });
  }
  void patches(const Patches& a, Stream s) override {
    time("patches", [&] { inner_.patches(a, s); });
  }
  void copy_rows(const CopyRows& a, Stream s) override {
    time("copy", [&] { inner_.copy_rows(a, s); });
  }

 private:
  template <class Body>
  Total& time(const char* kind, Body&& body) {
    const double start = wall_seconds();
    body();
    Total& total = totals[kind];
    ++total.calls;
    total.seconds += wall_seconds() - start;
    return total;
  }
  double flop(const Convolution& a) const {
    const ConvolutionWeight& w = kernels_.at(a.weight);
    const int64_t rows =
        convolution_extent(a.height, w.kernel_height, a.pad_top, a.pad_bottom, a.stride, a.dilation);
    const int64_t columns =
        convolution_extent(a.width, w.kernel_width, a.pad_left, a.pad_right, a.stride, a.dilation);
    return 2.0 *
           static_cast<double>(a.batch * rows * columns * w.in * w.out * w.kernel_height * w.kernel_width);
  }
  NeuralOps& inner_;
  std::unordered_map<const PackedWeight*, ConvolutionWeight> kernels_;
};

class TimedNetworks final : public ForwardingBackend {
 public:
  NeuralOps& neural() override { return timed; }
  TimedOps timed{inner().neural()};
};

}  // namespace eg4d::bench
